"""Runs Procrastinate: `procrastinate worker`, on psycopg 3 with a pool of ten connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from procrastinate import App, PsycopgConnector

from benchmarks.peers.handlers import handle, worker_database
from benchmarks.peers.system import Producer, Task, Worker
from benchmarks.support.databases import Kind

POOL = 10


async def tell(to: str, number: int, sent: float) -> None:
    handle(sent)


def _app(url: str | None) -> App:
    return App(connector=PsycopgConnector(conninfo=url or "", max_size=POOL))


app = _app(worker_database())
task = app.task(name="tell")(tell)


def _concurrency(number: int) -> Worker:
    command = ("procrastinate", "--app", "benchmarks.peers.procrastinate_peer.app")
    options = ("--log-level", "warning", "worker", "--concurrency", str(number))
    return Worker(f"concurrency {number}", (*command, *options))


@dataclass(frozen=True)
class ProcrastinatePeer:
    name: str = "Procrastinate"
    distribution: str = "procrastinate"
    kind: Kind = "postgresql"
    workers: tuple[Worker, ...] = tuple(_concurrency(number) for number in (1, 10, 50))
    has_bulk: bool = True
    unfinished: str = "SELECT 1 FROM procrastinate_jobs WHERE status IN ('todo', 'doing') LIMIT 1"

    async def set_up(self, url: str) -> None:
        async with _app(url).open_async() as own:
            await own.schema_manager.apply_schema_async()

    @asynccontextmanager
    async def producer(self, url: str) -> AsyncIterator[Producer]:
        async with _app(url).open_async() as own:
            yield _Producer(own.task(name="tell")(tell))


@dataclass(frozen=True)
class _Producer:
    task: Any

    async def enqueue(self, task: Task) -> object:
        return await self.task.defer_async(**task)

    async def enqueue_many(self, tasks: Sequence[Task]) -> object:
        return await self.task.batch_defer_async(*tasks)
