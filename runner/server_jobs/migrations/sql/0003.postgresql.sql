CREATE TABLE ${schema}${prefix}server_jobs_leases (
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (name)
);
UPDATE ${schema}${prefix}server_jobs_schema SET version = 3;
