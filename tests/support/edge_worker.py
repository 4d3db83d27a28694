"""A Worker's jobs and database on CPython: the real statements, on a SQLite file."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel
from sqlalchemy import text

from server_jobs import JobContext, JobRegistry, JobStatus, create_job_registry
from server_jobs.database import Database
from server_jobs.define import define_job
from server_jobs.migrate import migrate
from server_jobs.sql.statement import Row, Statement
from server_jobs.store.store import Store
from server_jobs_cloudflare import CloudflareWorkerBackend, EdgeConfig
from server_jobs_cloudflare.summary import TickSummary

EXPIRE = "UPDATE jobs SET worker_expires_at = '2020-01-01 00:00:00' WHERE status = 'running'"


class PlatformLimit(BaseException):
    """What the platform raises as the limit on CPU time comes near."""


class Params(BaseModel):
    number: int = 0
    secret: str = ""


class Doubled(BaseModel):
    doubled: int


async def double(params: Params, context: JobContext) -> Doubled:
    await context.update_progress(50, "half-way")
    return Doubled(doubled=params.number * 2)


def registry_of(*handlers: Any, **options: Any) -> JobRegistry:
    """A registry with a job for each handler, on the queue ``edge``."""
    registry = create_job_registry()
    for handler in handlers:
        registry.register(define_job(queue="edge", **options)(handler))
    return registry


def new_database(folder: Path) -> str:
    """The URL of a new database with our tables."""
    url = f"sqlite:///{folder}/jobs.db?synchronous=normal"
    migrate(url)
    return url


def environment(**variables: str) -> Any:
    """A Worker's environment: what isn't set isn't there."""
    return SimpleNamespace(**variables)


def lines(output: str, event: str) -> list[dict[str, Any]]:
    """The lines of that event that were written to the console."""
    found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == event]


def backend_of(
    database: Database, registry: JobRegistry, **options: Any
) -> CloudflareWorkerBackend:
    """One tick to be."""
    return CloudflareWorkerBackend(
        database=database, job_registry=registry, config=EdgeConfig(**options)
    )


async def tick(database: Database, registry: JobRegistry, **options: Any) -> TickSummary:
    """One tick."""
    return await backend_of(database, registry, **options).tick()


async def statuses(database: Database) -> Counter[JobStatus]:
    """How many jobs have each status."""
    return Counter(job.status for job in await Store(database).list_jobs(limit=10_000))


async def sql(database: Database, statement: str) -> list[Row]:
    """Run it."""
    return await database.execute(Statement(text(statement)))
