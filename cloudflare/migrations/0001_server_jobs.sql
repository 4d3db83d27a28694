CREATE TABLE server_jobs_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT server_jobs_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 0001

CREATE TABLE cron_jobs (
    id VARCHAR(36) NOT NULL,
    name TEXT NOT NULL,
    job_name TEXT NOT NULL,
    cron_expression TEXT NOT NULL,
    time_zone TEXT DEFAULT 'UTC' NOT NULL,
    params TEXT DEFAULT '{}' NOT NULL,
    queue TEXT DEFAULT 'default' NOT NULL,
    priority INTEGER DEFAULT 0 NOT NULL,
    enabled BOOLEAN DEFAULT 1 NOT NULL,
    overlap TEXT DEFAULT 'allow' NOT NULL,
    catchup TEXT DEFAULT 'latest' NOT NULL,
    jitter_seconds FLOAT DEFAULT 0 NOT NULL,
    starts_at TEXT,
    ends_at TEXT,
    max_attempts INTEGER DEFAULT 3 NOT NULL,
    timeout_seconds FLOAT,
    retry_policy TEXT,
    runtime TEXT,
    last_run_at TEXT,
    next_run_at TEXT,
    last_job_id VARCHAR(36),
    fire_token VARCHAR(36),
    managed_by TEXT DEFAULT 'cli' NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f000','now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f000','now')) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name),
    CONSTRAINT cron_jobs_overlap_known CHECK (overlap IN ('allow', 'skip', 'queue', 'replace')),
    CONSTRAINT cron_jobs_catchup_known CHECK (catchup IN ('none', 'latest', 'all')),
    CONSTRAINT cron_jobs_jitter_range CHECK (jitter_seconds >= 0),
    CONSTRAINT cron_jobs_attempts CHECK (max_attempts >= 1),
    CONSTRAINT cron_jobs_params_json CHECK ((params IS NULL OR json_valid(params))),
    CONSTRAINT cron_jobs_starts_at_time CHECK ((starts_at IS NULL OR (datetime(substr(starts_at, 1, 19), '+0 days') IS substr(starts_at, 1, 19) AND starts_at >= '0001' AND (length(starts_at) = 19 OR (substr(starts_at, 20) GLOB '.[0-9]*' AND rtrim(substr(starts_at, 21), '0123456789') = ''))))),
    CONSTRAINT cron_jobs_ends_at_time CHECK ((ends_at IS NULL OR (datetime(substr(ends_at, 1, 19), '+0 days') IS substr(ends_at, 1, 19) AND ends_at >= '0001' AND (length(ends_at) = 19 OR (substr(ends_at, 20) GLOB '.[0-9]*' AND rtrim(substr(ends_at, 21), '0123456789') = ''))))),
    CONSTRAINT cron_jobs_retry_policy_json CHECK ((retry_policy IS NULL OR json_valid(retry_policy))),
    CONSTRAINT cron_jobs_runtime_json CHECK ((runtime IS NULL OR json_valid(runtime))),
    CONSTRAINT cron_jobs_last_run_at_time CHECK ((last_run_at IS NULL OR (datetime(substr(last_run_at, 1, 19), '+0 days') IS substr(last_run_at, 1, 19) AND last_run_at >= '0001' AND (length(last_run_at) = 19 OR (substr(last_run_at, 20) GLOB '.[0-9]*' AND rtrim(substr(last_run_at, 21), '0123456789') = ''))))),
    CONSTRAINT cron_jobs_next_run_at_time CHECK ((next_run_at IS NULL OR (datetime(substr(next_run_at, 1, 19), '+0 days') IS substr(next_run_at, 1, 19) AND next_run_at >= '0001' AND (length(next_run_at) = 19 OR (substr(next_run_at, 20) GLOB '.[0-9]*' AND rtrim(substr(next_run_at, 21), '0123456789') = ''))))),
    CONSTRAINT cron_jobs_created_at_time CHECK ((created_at IS NULL OR (datetime(substr(created_at, 1, 19), '+0 days') IS substr(created_at, 1, 19) AND created_at >= '0001' AND (length(created_at) = 19 OR (substr(created_at, 20) GLOB '.[0-9]*' AND rtrim(substr(created_at, 21), '0123456789') = ''))))),
    CONSTRAINT cron_jobs_updated_at_time CHECK ((updated_at IS NULL OR (datetime(substr(updated_at, 1, 19), '+0 days') IS substr(updated_at, 1, 19) AND updated_at >= '0001' AND (length(updated_at) = 19 OR (substr(updated_at, 20) GLOB '.[0-9]*' AND rtrim(substr(updated_at, 21), '0123456789') = '')))))
);

CREATE INDEX cron_jobs_due ON cron_jobs (next_run_at) WHERE enabled = 1;

CREATE TABLE jobs (
    id VARCHAR(36) NOT NULL,
    job_name TEXT NOT NULL,
    queue TEXT DEFAULT 'default' NOT NULL,
    priority INTEGER DEFAULT 0 NOT NULL,
    params TEXT DEFAULT '{}' NOT NULL,
    result TEXT,
    status TEXT DEFAULT 'pending' NOT NULL,
    ready BOOLEAN DEFAULT 0 NOT NULL,
    progress FLOAT DEFAULT 0 NOT NULL,
    progress_message TEXT,
    error TEXT,
    errors TEXT DEFAULT '[]' NOT NULL,
    attempt_count INTEGER DEFAULT 0 NOT NULL,
    max_attempts INTEGER DEFAULT 3 NOT NULL,
    retry_policy TEXT,
    scheduled_for TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f000','now')) NOT NULL,
    timeout_seconds FLOAT,
    fence BIGINT DEFAULT 0 NOT NULL,
    worker_id TEXT,
    worker_started_at TEXT,
    worker_expires_at TEXT,
    handler_started_at TEXT,
    cancel_requested_at TEXT,
    launch_failures INTEGER DEFAULT 0 NOT NULL,
    release_count INTEGER DEFAULT 0 NOT NULL,
    disruptions INTEGER DEFAULT 0 NOT NULL,
    unique_key TEXT,
    correlation_id TEXT,
    cron_job_id VARCHAR(36),
    cron_fire_at TEXT,
    runtime TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f000','now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f000','now')) NOT NULL,
    completed_at TEXT,
    PRIMARY KEY (id),
    CONSTRAINT jobs_status_known CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    CONSTRAINT jobs_progress_range CHECK (progress >= 0 AND progress <= 100),
    CONSTRAINT jobs_finished_iff_completed_at CHECK ((status IN ('cancelled', 'completed', 'failed')) = (completed_at IS NOT NULL)),
    CONSTRAINT jobs_running_iff_leased CHECK ((status = 'running') = (worker_expires_at IS NOT NULL)),
    CONSTRAINT jobs_running_has_claim CHECK (status <> 'running' OR (fence > 0 AND attempt_count > 0)),
    CONSTRAINT jobs_counts CHECK (attempt_count >= 0 AND max_attempts >= 1 AND fence >= 0 AND launch_failures >= 0 AND release_count >= 0 AND disruptions >= 0),
    CONSTRAINT jobs_errors_list CHECK ((json_valid(errors) AND json_type(errors) = 'array')),
    CONSTRAINT jobs_params_json CHECK ((params IS NULL OR json_valid(params))),
    CONSTRAINT jobs_result_json CHECK ((result IS NULL OR json_valid(result))),
    CONSTRAINT jobs_errors_json CHECK ((errors IS NULL OR json_valid(errors))),
    CONSTRAINT jobs_retry_policy_json CHECK ((retry_policy IS NULL OR json_valid(retry_policy))),
    CONSTRAINT jobs_scheduled_for_time CHECK ((scheduled_for IS NULL OR (datetime(substr(scheduled_for, 1, 19), '+0 days') IS substr(scheduled_for, 1, 19) AND scheduled_for >= '0001' AND (length(scheduled_for) = 19 OR (substr(scheduled_for, 20) GLOB '.[0-9]*' AND rtrim(substr(scheduled_for, 21), '0123456789') = ''))))),
    CONSTRAINT jobs_worker_started_at_time CHECK ((worker_started_at IS NULL OR (datetime(substr(worker_started_at, 1, 19), '+0 days') IS substr(worker_started_at, 1, 19) AND worker_started_at >= '0001' AND (length(worker_started_at) = 19 OR (substr(worker_started_at, 20) GLOB '.[0-9]*' AND rtrim(substr(worker_started_at, 21), '0123456789') = ''))))),
    CONSTRAINT jobs_worker_expires_at_time CHECK ((worker_expires_at IS NULL OR (datetime(substr(worker_expires_at, 1, 19), '+0 days') IS substr(worker_expires_at, 1, 19) AND worker_expires_at >= '0001' AND (length(worker_expires_at) = 19 OR (substr(worker_expires_at, 20) GLOB '.[0-9]*' AND rtrim(substr(worker_expires_at, 21), '0123456789') = ''))))),
    CONSTRAINT jobs_handler_started_at_time CHECK ((handler_started_at IS NULL OR (datetime(substr(handler_started_at, 1, 19), '+0 days') IS substr(handler_started_at, 1, 19) AND handler_started_at >= '0001' AND (length(handler_started_at) = 19 OR (substr(handler_started_at, 20) GLOB '.[0-9]*' AND rtrim(substr(handler_started_at, 21), '0123456789') = ''))))),
    CONSTRAINT jobs_cancel_requested_at_time CHECK ((cancel_requested_at IS NULL OR (datetime(substr(cancel_requested_at, 1, 19), '+0 days') IS substr(cancel_requested_at, 1, 19) AND cancel_requested_at >= '0001' AND (length(cancel_requested_at) = 19 OR (substr(cancel_requested_at, 20) GLOB '.[0-9]*' AND rtrim(substr(cancel_requested_at, 21), '0123456789') = ''))))),
    CONSTRAINT jobs_cron_fire_at_time CHECK ((cron_fire_at IS NULL OR (datetime(substr(cron_fire_at, 1, 19), '+0 days') IS substr(cron_fire_at, 1, 19) AND cron_fire_at >= '0001' AND (length(cron_fire_at) = 19 OR (substr(cron_fire_at, 20) GLOB '.[0-9]*' AND rtrim(substr(cron_fire_at, 21), '0123456789') = ''))))),
    CONSTRAINT jobs_runtime_json CHECK ((runtime IS NULL OR json_valid(runtime))),
    CONSTRAINT jobs_created_at_time CHECK ((created_at IS NULL OR (datetime(substr(created_at, 1, 19), '+0 days') IS substr(created_at, 1, 19) AND created_at >= '0001' AND (length(created_at) = 19 OR (substr(created_at, 20) GLOB '.[0-9]*' AND rtrim(substr(created_at, 21), '0123456789') = ''))))),
    CONSTRAINT jobs_updated_at_time CHECK ((updated_at IS NULL OR (datetime(substr(updated_at, 1, 19), '+0 days') IS substr(updated_at, 1, 19) AND updated_at >= '0001' AND (length(updated_at) = 19 OR (substr(updated_at, 20) GLOB '.[0-9]*' AND rtrim(substr(updated_at, 21), '0123456789') = ''))))),
    CONSTRAINT jobs_completed_at_time CHECK ((completed_at IS NULL OR (datetime(substr(completed_at, 1, 19), '+0 days') IS substr(completed_at, 1, 19) AND completed_at >= '0001' AND (length(completed_at) = 19 OR (substr(completed_at, 20) GLOB '.[0-9]*' AND rtrim(substr(completed_at, 21), '0123456789') = '')))))
);

CREATE INDEX jobs_cancel ON jobs (worker_id) WHERE status = 'running' AND cancel_requested_at IS NOT NULL;

CREATE INDEX jobs_claim ON jobs (queue, priority DESC, scheduled_for, id) WHERE status = 'pending' AND ready = 1;

CREATE INDEX jobs_correlation ON jobs (correlation_id) WHERE correlation_id IS NOT NULL;

CREATE UNIQUE INDEX jobs_cron_fire ON jobs (cron_job_id, cron_fire_at) WHERE cron_job_id IS NOT NULL;

CREATE INDEX jobs_lease ON jobs (worker_expires_at) WHERE status = 'running';

CREATE INDEX jobs_staging ON jobs (scheduled_for) WHERE status = 'pending' AND ready = 0;

CREATE UNIQUE INDEX jobs_unique_key ON jobs (job_name, unique_key) WHERE unique_key IS NOT NULL AND status IN ('pending', 'running');

CREATE TABLE server_jobs_schema (
    version INTEGER NOT NULL,
    oldest_code INTEGER NOT NULL
);

INSERT INTO server_jobs_schema (version, oldest_code) VALUES (1, 1);

INSERT INTO server_jobs_version (version_num) VALUES ('0001') RETURNING version_num;
