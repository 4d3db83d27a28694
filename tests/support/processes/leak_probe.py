"""A process that sends 100,000 jobs through one worker, and says what it holds on the way.

``python -m tests.support.processes.leak_probe DATABASE_URL`` prints a JSON list, a document a
round.
"""

import asyncio
import gc
import json
import logging
import os
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from server_jobs import JobContext, RetryPolicy, connect, create_job_registry, define_job
from server_jobs.store.store import Store
from server_jobs.worker import LocalWorker, WorkerConfig
from tests.support.workers import Number

ROUNDS = 5
JOBS_A_ROUND = 20_000


@dataclass(frozen=True)
class Holdings:
    """What the process holds while its worker has nothing to do."""

    jobs: int
    tasks: int
    threads: int
    files: int
    objects: int
    """That the garbage collector knows of."""
    blocks: int
    """Of memory that the interpreter has handed out, one for each object of any kind."""
    resident_bytes: int


@define_job(name="Async")
async def quick(params: Number) -> int:
    return params.n


@define_job(name="Plain")
def plain(params: Number) -> int:
    return params.n


@define_job(name="Progress")
async def progress(params: Number, context: JobContext) -> int:
    await context.update_progress(50, "half-way")
    return params.n


@define_job(name="Timed", timeout=60)
async def timed(params: Number) -> int:
    return params.n


@define_job(name="Failing", max_attempts=1)
async def failing(params: Number) -> int:
    raise ValueError(f"{params.n} fails")


@define_job(name="Flaky", max_attempts=2, retry_policy=RetryPolicy.fixed(0))
def flaky(params: Number, context: JobContext) -> int:
    if context.attempt == 1:
        raise ValueError(f"{params.n} fails once")
    return params.n


SHARES = {quick: 0.4, plain: 0.3, progress: 0.1, timed: 0.1, failing: 0.05, flaky: 0.05}


def holdings(jobs: int) -> Holdings:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Holdings(
        jobs=jobs,
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        files=len(os.listdir("/proc/self/fd")),
        objects=len(gc.get_objects()),
        blocks=sys.getallocatedblocks(),
        resident_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
    )


async def probe(url: str) -> list[Holdings]:
    database = connect(url)
    registry = create_job_registry().bind(database)
    for job in SHARES:
        registry.register(job)
    store = Store(database)
    worker = LocalWorker(
        database=database, job_registry=registry, config=WorkerConfig(concurrency=50)
    )
    working = asyncio.create_task(worker.run_until_stopped())
    seen = []
    for number in range(1, ROUNDS + 1):
        await enqueue_a_round()
        while await unfinished(store) and not working.done():  # noqa: ASYNC110 - the rows tell
            await asyncio.sleep(0.1)
        seen.append(holdings(number * JOBS_A_ROUND))
    worker.stop()
    await working
    await database.close()
    return seen


async def enqueue_a_round() -> None:
    for job, share in SHARES.items():
        numbers = [Number(n=n) for n in range(round(JOBS_A_ROUND * share))]
        for start in range(0, len(numbers), 1_000):
            await job.later_many(numbers[start : start + 1_000])


async def unfinished(store: Store) -> int:
    return sum(count.count for count in await store.counts() if not count.status.finished)


if __name__ == "__main__":
    # A line for each job would be most of what the process does.
    logging.getLogger("server_jobs").setLevel(logging.CRITICAL)
    print(json.dumps([asdict(each) for each in asyncio.run(probe(sys.argv[1]))]))
