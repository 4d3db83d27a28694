-- Running upgrade 0001 -> 0002

ALTER TABLE cron_jobs ADD COLUMN catchup_window_seconds FLOAT DEFAULT 86400 CONSTRAINT cron_jobs_catchup_range CHECK (catchup_window_seconds > 0);

ALTER TABLE cron_jobs ADD COLUMN catchup_limit INTEGER DEFAULT 100 NOT NULL CONSTRAINT cron_jobs_catchup_count CHECK (catchup_limit >= 1);

ALTER TABLE cron_jobs ADD COLUMN last_decision TEXT;

ALTER TABLE cron_jobs ADD COLUMN last_note TEXT;

CREATE INDEX jobs_cron_live ON jobs (cron_job_id) WHERE status IN ('pending', 'running') AND cron_job_id IS NOT NULL;

UPDATE server_jobs_schema SET version = 2;

UPDATE server_jobs_version SET version_num='0002' WHERE server_jobs_version.version_num = '0001';
