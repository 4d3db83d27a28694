-- Running upgrade 0002 -> 0003

CREATE TABLE server_jobs_leases (
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (name),
    CONSTRAINT server_jobs_leases_expires_at_time CHECK ((expires_at IS NULL OR (datetime(substr(expires_at, 1, 19), '+0 days') IS substr(expires_at, 1, 19) AND expires_at >= '0001' AND (length(expires_at) = 19 OR (substr(expires_at, 20) GLOB '.[0-9]*' AND rtrim(substr(expires_at, 21), '0123456789') = '')))))
);

UPDATE server_jobs_schema SET version = 3;

UPDATE server_jobs_version SET version_num='0003' WHERE server_jobs_version.version_num = '0002';
