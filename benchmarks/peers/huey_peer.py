"""Runs Huey: `huey_consumer` with threads, on SqliteHuey.

Users usually don't set `fsync`, so SQLite's default holds, which is FULL in most builds. The
workers below also run with it on, and off to see what durability costs. The handler returns
nothing, so that Huey has no result to store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from huey import SqliteHuey

from benchmarks.peers.handlers import handle, worker_database
from benchmarks.peers.system import Producer, Task, Worker
from benchmarks.support.databases import Kind


def tell(to: str, number: int, sent: float) -> None:
    handle(sent)


def _open(url: str, *, create_tables: bool = False, fsync: bool | None = None) -> Any:
    path = url.removeprefix("sqlite:///")
    return SqliteHuey(filename=path, create_tables=create_tables, fsync=fsync)


if (url := worker_database()) is not None:
    as_it_comes = _open(url)
    fsync_on = _open(url, fsync=True)
    fsync_off = _open(url, fsync=False)
    for queue in (as_it_comes, fsync_on, fsync_off):
        queue.task(name="tell")(tell)


def _threads(number: int, queue: str = "as_it_comes") -> Worker:
    command = ("huey.bin.huey_consumer", f"benchmarks.peers.huey_peer.{queue}", "--quiet")
    options = ("--worker-type", "thread", "--workers", str(number))
    settings = f"{number} thread{'s' if number > 1 else ''}"
    if queue != "as_it_comes":
        settings += f", {queue.replace('_', ' ')}"
    return Worker(settings, (*command, *options), durable=queue != "fsync_off")


@dataclass(frozen=True)
class HueyPeer:
    name: str = "Huey"
    distribution: str = "huey"
    kind: Kind = "sqlite"
    workers: tuple[Worker, ...] = (
        *(_threads(number) for number in (1, 2, 4, 8)),
        _threads(1, "fsync_on"),
        _threads(1, "fsync_off"),
    )
    has_bulk: bool = False
    unfinished: str = "SELECT 1 FROM task LIMIT 1"

    async def set_up(self, url: str) -> None:
        _open(url, create_tables=True).storage.close()

    @asynccontextmanager
    async def producer(self, url: str) -> AsyncIterator[Producer]:
        queue = _open(url)
        try:
            yield _Producer(queue.task(name="tell")(tell))
        finally:
            queue.storage.close()


@dataclass(frozen=True)
class _Producer:
    call: Callable[..., object]

    async def enqueue(self, task: Task) -> object:
        return self.call(**task)

    async def enqueue_many(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.call(**task)
