"""Runs server-jobs' side of the benchmarks. Each function is one contestant's process."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from sqlalchemy import create_engine

from benchmarks.app import Params, Result, noop, params, registry
from server_jobs import JobContext, connect, create_job_registry, define_job, run_sync
from server_jobs.database import Database
from server_jobs.schedules import ScheduleStore
from server_jobs.schedules.scheduler import Scheduler
from server_jobs.worker import LocalWorker, WorkerConfig

DEFAULT_CONCURRENCY = WorkerConfig().concurrency

Span: TypeAlias = tuple[int, float, float]
"""The number of jobs, and the monotonic moments at which they began and ended."""


@contextmanager
def connected(url: str) -> Iterator[tuple[Database, asyncio.Runner]]:
    """Open the database, and an event loop to use it in."""
    database = connect(url)
    with asyncio.Runner() as runner:
        try:
            yield database, runner
        finally:
            runner.run(database.close())


def later(url: str, count: int) -> Generator[Span | None, Any, None]:
    """Enqueue jobs one by one."""

    async def enqueue() -> Span:
        began = time.monotonic()
        for n in range(count):
            await noop.later(params(n))
        return count, began, time.monotonic()

    with connected(url) as (database, runner):
        noop.set_database(database)
        yield None
        while True:
            yield runner.run(enqueue())


def later_many(url: str, count: int) -> Generator[Span | None, Any, None]:
    """Enqueue all jobs by one call."""
    given = [params(n) for n in range(count)]

    async def enqueue() -> Span:
        began = time.monotonic()
        await noop.later_many(given)
        return count, began, time.monotonic()

    with connected(url) as (database, runner):
        noop.set_database(database)
        yield None
        while True:
            yield runner.run(enqueue())


def tick(url: str, count: int) -> Generator[Span | None, str, None]:
    """Run a scheduler's tick, which fires ``count`` schedules (``fire``) or none (``look``)."""
    with connected(url) as (database, runner):
        scheduler = Scheduler(ScheduleStore(database))
        order = yield None
        while True:
            began = time.monotonic()
            ticked = runner.run(scheduler.tick())
            ended = time.monotonic()
            expected = count if order == "fire" else 0
            if len(ticked.job_ids) != expected:
                raise RuntimeError(f"{len(ticked.job_ids)} schedules fired instead of {expected}")
            order = yield 1, began, ended


def drain(url: str) -> Generator[Span | None, dict[str, int], None]:
    """Execute until the queue is empty, or until a ``limit`` of jobs is completed.

    An order may also set the ``concurrency``.
    """
    with connected(url) as (database, runner):
        order = yield None
        while True:
            config = WorkerConfig(
                drain=True, concurrency=order.get("concurrency", DEFAULT_CONCURRENCY)
            )
            worker = LocalWorker(database=database, job_registry=registry, config=config)
            order = yield runner.run(_drain(worker, order.get("limit")))


async def _drain(worker: LocalWorker, limit: int | None) -> Span:
    began = time.monotonic()
    if limit is None:
        totals = await worker.run_until_stopped()
    else:
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(worker.run_until_stopped())
            # The handler can't count, since it must do nothing.
            while worker.totals.completed < limit and not working.done():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            worker.stop()
        totals = working.result()
    return totals.completed, began, time.monotonic()


def serve(url: str) -> Generator[dict[str, Any], Any, None]:
    """Run a worker that waits for jobs → when each handler began, and the CPU seconds so far."""
    begun: dict[str, float] = {}

    @define_job(name=noop.name)
    async def timed(params: Params, context: JobContext) -> Result:
        begun[str(context.job_id)] = time.monotonic()
        return Result(n=params.n)

    database = connect(url)
    worker = LocalWorker(
        database=database, job_registry=create_job_registry().register(timed), config=WorkerConfig()
    )
    loop = asyncio.new_event_loop()

    async def work() -> None:
        try:
            await worker.run_until_stopped()
        finally:
            await database.close()

    # Meanwhile the process's main thread waits for orders.
    thread = threading.Thread(target=loop.run_until_complete, args=[work()])
    thread.start()
    try:
        while True:
            yield {"begun": dict(begun), "cpu": time.process_time(), "at": time.monotonic()}
    finally:
        loop.call_soon_threadsafe(worker.stop)
        thread.join()
        loop.close()


def enqueue_now_and_then(url: str) -> Generator[dict[str, float] | None, Any, None]:
    """Enqueue as many jobs as ordered, in a caller's transactions → moments of commit by job id.

    A moment is taken before the commit is sent, since the commit is part of the measurement.
    """
    chance = random.Random(1)
    database = connect(url)
    noop.set_database(database)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with contextlib.ExitStack() as stack:
        stack.callback(engine.dispose)
        stack.callback(lambda: run_sync(database.close()))
        connection = stack.enter_context(engine.connect())
        count = yield None
        while True:
            commits = {}
            for n in range(count):
                # Jobs come at random intervals, so that they don't keep time with a poller.
                time.sleep(chance.uniform(0.03, 0.07))
                job_id = run_sync(noop.later(params(n), connection=connection))
                commits[job_id] = time.monotonic()
                connection.commit()
            count = yield commits
