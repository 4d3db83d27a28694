"""Runs server-jobs on either database: `server-jobs worker`, with all its guarantees."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from benchmarks.peers.handlers import handle, worker_database
from benchmarks.peers.system import Producer, Task, Worker
from server_jobs import Job, connect, create_job_registry, define_job
from server_jobs.migrate import migrate

if TYPE_CHECKING:
    from benchmarks.support.databases import Kind


class Params(BaseModel):
    """The params, validated when a job is enqueued, and again when it is executed."""

    to: str
    number: int
    sent: float


class Receipt(BaseModel):
    """The result, which is validated and stored."""

    number: int


@define_job(name="Tell")
async def tell(params: Params) -> Receipt:
    handle(params.sent)
    return Receipt(number=params.number)


registry = create_job_registry().register(tell)
if (url := worker_database()) is not None:
    registry.bind(connect(url))


def _worker(settings: str, *options: str) -> Worker:
    command = ("server_jobs.cli", "worker", "--app", "benchmarks.peers.ours:registry")
    return Worker(settings, (*command, *options))


def _quiet(concurrency: int) -> Worker:
    return _worker(
        f"concurrency {concurrency}", "--concurrency", str(concurrency), "--log-level", "warning"
    )


@dataclass(frozen=True)
class ServerJobs:
    """Offers server-jobs to the comparison."""

    kind: Kind
    name: str = "server-jobs"
    distribution: str = "server-jobs"
    workers: tuple[Worker, ...] = (
        _quiet(20),
        _quiet(50),
        _worker("concurrency 50, logging each job"),
        *(_quiet(concurrency) for concurrency in (100, 200, 500)),
    )
    has_bulk: bool = True
    unfinished: str = (
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM jobs WHERE status = 'pending')"
        " OR EXISTS (SELECT 1 FROM jobs WHERE status = 'running')"
    )

    async def set_up(self, url: str) -> None:
        migrate(url)

    @asynccontextmanager
    async def producer(self, url: str) -> AsyncIterator[Producer]:
        database = connect(url)
        tell.set_database(database)
        try:
            yield _Producer(tell)
        finally:
            tell.set_database(None)
            await database.close()


@dataclass(frozen=True)
class _Producer:
    job: Job[Params, Receipt]

    async def enqueue(self, task: Task) -> str:
        return await self.job.later(task)

    async def enqueue_many(self, tasks: Sequence[Task]) -> list[str]:
        return await self.job.later_many(tasks)
