"""Local workers in the test's own process, and waiting for what they do."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel

from server_jobs import Job, JobRegistry, JobStatus, create_job_registry
from server_jobs.database import Database
from server_jobs.store.store import Store
from server_jobs.worker import LocalWorker, WorkerConfig, WorkerTotals

PATIENCE_SECONDS = 20.0
"""After this a condition that hasn't come true counts as never. It is spent only on failures."""


class Number(BaseModel):
    """Params that tell one job from another."""

    n: int = 0


def registry_of(database: Database, *jobs: Job[Any, Any]) -> JobRegistry:
    registry = create_job_registry().bind(database)
    for job in jobs:
        registry.register(job)
    return registry


def make_worker(database: Database, registry: JobRegistry, **settings: Any) -> LocalWorker:
    config = WorkerConfig(**{"lease": 30.0, "grace": 5.0} | settings)
    return LocalWorker(database=database, job_registry=registry, config=config)


async def drain(database: Database, registry: JobRegistry, **settings: Any) -> WorkerTotals:
    """Let a worker work until its queues are empty."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await make_worker(database, registry, drain=True, **settings).run_until_stopped()


@asynccontextmanager
async def working(worker: LocalWorker) -> AsyncIterator[asyncio.Task[WorkerTotals]]:
    """A worker that works meanwhile, and is stopped at the end."""
    task = asyncio.create_task(worker.run_until_stopped())
    try:
        yield task
    except BaseException:
        worker.stop()  # with the one below: without grace, so that a failed test ends soon
        raise
    finally:
        worker.stop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await task


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Wait until the condition is true. Raises AssertionError if it never is."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                answer = condition()
                if (await answer) if inspect.isawaitable(answer) else answer:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"it never came true that {what}") from None


async def until_status(store: Store, job_id: str, status: JobStatus) -> None:
    async def reached() -> bool:
        return (await store.get(job_id)).status is status

    await until(reached, f"job {job_id} is {status}")


async def statuses(store: Store) -> dict[JobStatus, int]:
    """How many jobs there are of each status."""
    found: dict[JobStatus, int] = {}
    for count in await store.counts():
        found[count.status] = found.get(count.status, 0) + count.count
    return found
