"""Schema changes, in steps that only add. See ``server_jobs.migrate``."""
