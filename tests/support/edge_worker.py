"""A Worker's jobs and database on CPython: the real statements, on a SQLite file."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel

from server_jobs import JobContext, JobRegistry, create_job_registry
from server_jobs.define import define_job
from server_jobs.migrate import migrate


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
