"""Runs PgQueuer as `pgq run` does, on asyncpg and uvloop, with its recommended autovacuum settings.

`pgq run` of PgQueuer 1.6.0 itself doesn't start with Typer 0.29, so `pgqueuer.run` is called here.
By PgQueuer's page on performance tuning, the batch size is the setting to vary. Concurrency is
unlimited by default. Tables are durable (the default), and finished jobs move to a log table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import uvloop
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries, run

from benchmarks.peers.handlers import handle, worker_database
from benchmarks.peers.system import Producer, Task, Worker
from benchmarks.support.databases import Kind

ENTRYPOINT = "tell"


async def _tell(job: Job) -> None:
    handle(json.loads(job.payload)["sent"])


@asynccontextmanager
async def worker() -> AsyncIterator[PgQueuer]:
    """Make the PgQueuer that `pgq run` runs."""
    connection = await asyncpg.connect(worker_database())
    pgq = PgQueuer(AsyncpgDriver(connection))

    pgq.entrypoint(ENTRYPOINT)(_tell)
    try:
        yield pgq
    finally:
        await connection.close()


def _batches_of(size: int) -> Worker:
    return Worker(f"batch size {size}", ("benchmarks.peers.pgqueuer_peer", str(size)))


@dataclass(frozen=True)
class PgQueuerPeer:
    name: str = "PgQueuer"
    distribution: str = "pgqueuer"
    kind: Kind = "postgresql"
    workers: tuple[Worker, ...] = tuple(_batches_of(size) for size in (10, 50, 100, 200, 500, 1000))
    has_bulk: bool = True
    unfinished: str = "SELECT 1 FROM pgqueuer LIMIT 1"

    async def set_up(self, url: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            queries = Queries(AsyncpgDriver(connection))
            await queries.install()
            await queries.optimize_autovacuum()
        finally:
            await connection.close()

    @asynccontextmanager
    async def producer(self, url: str) -> AsyncIterator[Producer]:
        connection = await asyncpg.connect(url)
        try:
            yield _Producer(Queries(AsyncpgDriver(connection)))
        finally:
            await connection.close()


@dataclass(frozen=True)
class _Producer:
    queries: Queries

    async def enqueue(self, task: Task) -> object:
        return await self.queries.enqueue(ENTRYPOINT, json.dumps(task).encode())

    async def enqueue_many(self, tasks: Sequence[Task]) -> object:
        payloads = [json.dumps(task).encode() for task in tasks]
        return await self.queries.enqueue([ENTRYPOINT] * len(tasks), payloads, [0] * len(tasks))


if __name__ == "__main__":
    uvloop.run(run(worker, batch_size=int(sys.argv[1])))
