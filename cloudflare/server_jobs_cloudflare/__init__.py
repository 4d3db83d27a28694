"""Jobs on Cloudflare Workers: a Cron Trigger claims them from D1 and executes them."""

from server_jobs_cloudflare.backend import CloudflareWorkerBackend
from server_jobs_cloudflare.config import EdgeConfig
from server_jobs_cloudflare.handler import create_cron_handler

__all__ = ["CloudflareWorkerBackend", "EdgeConfig", "create_cron_handler"]
