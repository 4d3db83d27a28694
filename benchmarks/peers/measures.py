"""Measures a system by the same steps as every other."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from benchmarks.peers.handlers import BEGAN, RAN
from benchmarks.peers.system import Producer, System, Worker, task
from benchmarks.peers.worker_process import PATIENCE_SECONDS, working
from benchmarks.support.databases import BenchDatabase, Databases
from benchmarks.support.measure import Samples

BULK = 1_000
"""How many jobs one call enqueues in bulk."""

IDLE_SECONDS = (0.05, 0.35)
"""The bounds of the random pause between two measured pickups."""

PICKUPS_TO_WARM_UP = 5


@dataclass(frozen=True)
class Drained:
    """Holds how fast jobs were enqueued, many at once, and drained, in jobs a second."""

    enqueued: float
    drained: float


def drain(system: System, worker: Worker, databases: Databases, jobs: int) -> Drained:
    """Enqueue jobs, then start one worker on them.

    The time runs from the first handler's start, without the worker's own start, until the
    database says that every job is done.
    """
    return asyncio.run(_drain(system, worker, databases, jobs))


async def _drain(system: System, worker: Worker, databases: Databases, jobs: int) -> Drained:
    with databases.empty(system.kind) as database:
        await system.set_up(database.url)
        async with system.producer(database.url) as producer:
            enqueued = await _enqueue_many(producer, jobs)
        _settle(database)
        with working(worker, database.url, jobs) as process:
            began = _moment(process.read(), BEGAN)
            _moment(process.read(), RAN)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while database.run(system.unfinished):
                if time.monotonic() > deadline:
                    process.fail("ran every job, but not all are recorded as done")
                time.sleep(0.002)  # noqa: ASYNC251 - nothing else runs on this loop
            done = time.monotonic()
    return Drained(enqueued=enqueued, drained=jobs / (done - began))


async def _enqueue_many(producer: Producer, jobs: int) -> float:
    tasks = [task(number) for number in range(jobs)]
    began = time.perf_counter()
    for start in range(0, jobs, BULK):
        await producer.enqueue_many(tasks[start : start + BULK])
    return jobs / (time.perf_counter() - began)


def _settle(database: BenchDatabase) -> None:
    """Bring a system's tables into the state of long use: analysed, with the log written back."""
    if database.kind == "postgresql":
        database.run("VACUUM ANALYZE")
        database.run("CHECKPOINT")
    else:
        database.run("PRAGMA wal_checkpoint(TRUNCATE)")


def enqueue(system: System, databases: Databases, jobs: int) -> float:
    """Enqueue one by one, by a client that waits for each commit → jobs a second."""
    return asyncio.run(_enqueue(system, databases, jobs))


async def _enqueue(system: System, databases: Databases, jobs: int) -> float:
    with databases.empty(system.kind) as database:
        await system.set_up(database.url)
        async with system.producer(database.url) as producer:
            for number in range(50):  # connect, prepare
                await producer.enqueue(task(number))
            began = time.perf_counter()
            for number in range(jobs):
                await producer.enqueue(task(number))
            return jobs / (time.perf_counter() - began)


def pickup(system: System, worker: Worker, databases: Databases, jobs: int) -> Samples:
    """Measure from the call of `enqueue` to the handler's start in an idle worker → in ms."""
    return asyncio.run(_pickup(system, worker, databases, jobs))


async def _pickup(system: System, worker: Worker, databases: Databases, jobs: int) -> Samples:
    found = []
    with databases.empty(system.kind) as database:
        await system.set_up(database.url)
        async with system.producer(database.url) as producer:
            with working(worker, database.url) as process:
                for number in range(PICKUPS_TO_WARM_UP + jobs):
                    await asyncio.sleep(random.uniform(*IDLE_SECONDS))
                    await producer.enqueue(task(number, sent=time.monotonic()))
                    # This blocks the loop, but nothing else runs on it; the worker takes the time.
                    found.append(float(process.read()) * 1_000)
    return Samples(tuple(found[PICKUPS_TO_WARM_UP:]))


def _moment(line: str, what: str) -> float:
    said, moment = line.split()
    assert said == what, line
    return float(moment)
