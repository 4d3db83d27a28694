ALTER TABLE ${prefix}cron_jobs ADD COLUMN catchup_window_seconds FLOAT DEFAULT 86400 CONSTRAINT ${prefix}cron_jobs_catchup_range CHECK (catchup_window_seconds > 0);
ALTER TABLE ${prefix}cron_jobs ADD COLUMN catchup_limit INTEGER DEFAULT 100 NOT NULL CONSTRAINT ${prefix}cron_jobs_catchup_count CHECK (catchup_limit >= 1);
ALTER TABLE ${prefix}cron_jobs ADD COLUMN last_decision TEXT;
ALTER TABLE ${prefix}cron_jobs ADD COLUMN last_note TEXT;
CREATE INDEX ${prefix}jobs_cron_live ON ${prefix}jobs (cron_job_id) WHERE status IN ('pending', 'running') AND cron_job_id IS NOT NULL;
UPDATE ${prefix}server_jobs_schema SET version = 2;
