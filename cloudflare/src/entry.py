"""The Worker: woken every minute, it executes what is due in the queue ``edge``."""

from jobs import registry

from server_jobs_cloudflare import create_cron_handler

__all__ = ["Default"]

Default = create_cron_handler(database="DB", job_registry=registry)
