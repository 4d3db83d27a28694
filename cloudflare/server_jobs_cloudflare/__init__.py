"""The backend for Cloudflare Workers: a Cron Trigger wakes a Worker, which executes due jobs."""

from server_jobs_cloudflare.backend import CloudflareWorkerBackend
from server_jobs_cloudflare.config import EdgeConfig
from server_jobs_cloudflare.handler import create_cron_handler

__all__ = ["CloudflareWorkerBackend", "EdgeConfig", "create_cron_handler"]
