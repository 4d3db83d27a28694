CREATE TABLE ${schema}${prefix}cron_jobs (
    id VARCHAR(36) COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    job_name TEXT NOT NULL,
    cron_expression TEXT NOT NULL,
    time_zone TEXT DEFAULT 'UTC' NOT NULL,
    params JSONB DEFAULT '{}' NOT NULL,
    queue TEXT DEFAULT 'default' NOT NULL,
    priority INTEGER DEFAULT 0 NOT NULL,
    enabled BOOLEAN DEFAULT true NOT NULL,
    overlap TEXT DEFAULT 'allow' NOT NULL,
    catchup TEXT DEFAULT 'latest' NOT NULL,
    jitter_seconds FLOAT DEFAULT 0 NOT NULL,
    starts_at TIMESTAMP WITH TIME ZONE,
    ends_at TIMESTAMP WITH TIME ZONE,
    max_attempts INTEGER DEFAULT 3 NOT NULL,
    timeout_seconds FLOAT,
    retry_policy JSONB,
    runtime JSONB,
    last_run_at TIMESTAMP WITH TIME ZONE,
    next_run_at TIMESTAMP WITH TIME ZONE,
    last_job_id VARCHAR(36) COLLATE "C",
    fire_token VARCHAR(36) COLLATE "C",
    managed_by TEXT DEFAULT 'cli' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT statement_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT statement_timestamp() NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name),
    CONSTRAINT ${prefix}cron_jobs_overlap_known CHECK (overlap IN ('allow', 'skip', 'queue', 'replace')),
    CONSTRAINT ${prefix}cron_jobs_catchup_known CHECK (catchup IN ('none', 'latest', 'all')),
    CONSTRAINT ${prefix}cron_jobs_jitter_range CHECK (jitter_seconds >= 0),
    CONSTRAINT ${prefix}cron_jobs_attempts CHECK (max_attempts >= 1)
);
CREATE INDEX ${prefix}cron_jobs_due ON ${schema}${prefix}cron_jobs (next_run_at) WHERE enabled = true;
CREATE TABLE ${schema}${prefix}jobs (
    id VARCHAR(36) COLLATE "C" NOT NULL,
    job_name TEXT NOT NULL,
    queue TEXT DEFAULT 'default' NOT NULL,
    priority INTEGER DEFAULT 0 NOT NULL,
    params JSONB DEFAULT '{}' NOT NULL,
    result JSONB,
    status TEXT DEFAULT 'pending' NOT NULL,
    ready BOOLEAN DEFAULT false NOT NULL,
    progress FLOAT DEFAULT 0 NOT NULL,
    progress_message TEXT,
    error TEXT,
    errors JSONB DEFAULT '[]' NOT NULL,
    attempt_count INTEGER DEFAULT 0 NOT NULL,
    max_attempts INTEGER DEFAULT 3 NOT NULL,
    retry_policy JSONB,
    scheduled_for TIMESTAMP WITH TIME ZONE DEFAULT statement_timestamp() NOT NULL,
    timeout_seconds FLOAT,
    fence BIGINT DEFAULT 0 NOT NULL,
    worker_id TEXT,
    worker_started_at TIMESTAMP WITH TIME ZONE,
    worker_expires_at TIMESTAMP WITH TIME ZONE,
    handler_started_at TIMESTAMP WITH TIME ZONE,
    cancel_requested_at TIMESTAMP WITH TIME ZONE,
    launch_failures INTEGER DEFAULT 0 NOT NULL,
    release_count INTEGER DEFAULT 0 NOT NULL,
    disruptions INTEGER DEFAULT 0 NOT NULL,
    unique_key TEXT,
    correlation_id TEXT,
    cron_job_id VARCHAR(36) COLLATE "C",
    cron_fire_at TIMESTAMP WITH TIME ZONE,
    runtime JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT statement_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT statement_timestamp() NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    CONSTRAINT ${prefix}jobs_status_known CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    CONSTRAINT ${prefix}jobs_progress_range CHECK (progress >= 0 AND progress <= 100),
    CONSTRAINT ${prefix}jobs_finished_iff_completed_at CHECK ((status IN ('cancelled', 'completed', 'failed')) = (completed_at IS NOT NULL)),
    CONSTRAINT ${prefix}jobs_running_iff_leased CHECK ((status = 'running') = (worker_expires_at IS NOT NULL)),
    CONSTRAINT ${prefix}jobs_running_has_claim CHECK (status <> 'running' OR (fence > 0 AND attempt_count > 0)),
    CONSTRAINT ${prefix}jobs_counts CHECK (attempt_count >= 0 AND max_attempts >= 1 AND fence >= 0 AND launch_failures >= 0 AND release_count >= 0 AND disruptions >= 0),
    CONSTRAINT ${prefix}jobs_errors_list CHECK ((jsonb_typeof(errors) = 'array'))
);
CREATE INDEX ${prefix}jobs_cancel ON ${schema}${prefix}jobs (worker_id) WHERE status = 'running' AND cancel_requested_at IS NOT NULL;
CREATE INDEX ${prefix}jobs_claim ON ${schema}${prefix}jobs (queue, priority DESC, scheduled_for, id) WHERE status = 'pending' AND ready = true;
CREATE INDEX ${prefix}jobs_correlation ON ${schema}${prefix}jobs (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE UNIQUE INDEX ${prefix}jobs_cron_fire ON ${schema}${prefix}jobs (cron_job_id, cron_fire_at) WHERE cron_job_id IS NOT NULL;
CREATE INDEX ${prefix}jobs_lease ON ${schema}${prefix}jobs (worker_expires_at) WHERE status = 'running';
CREATE INDEX ${prefix}jobs_staging ON ${schema}${prefix}jobs (scheduled_for) WHERE status = 'pending' AND ready = false;
CREATE UNIQUE INDEX ${prefix}jobs_unique_key ON ${schema}${prefix}jobs (job_name, unique_key) WHERE unique_key IS NOT NULL AND status IN ('pending', 'running');
CREATE TABLE ${schema}${prefix}server_jobs_schema (
    version INTEGER NOT NULL,
    oldest_code INTEGER NOT NULL
);
INSERT INTO ${schema}${prefix}server_jobs_schema (version, oldest_code) VALUES (1, 1);
