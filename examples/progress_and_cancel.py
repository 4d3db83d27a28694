"""Two long jobs that report how far they are, and are cancelled while they run.

An async handler is interrupted where it awaits; a plain one can't be, and asks its context.
"""

import asyncio
import itertools
import tempfile
import time

from pydantic import BaseModel

from server_jobs import Job, JobContext, JobStatus, connect, create_job_registry, define_job
from server_jobs.migrate import migrate
from server_jobs.worker import LocalWorker


class Endless(BaseModel):
    """Work that has no end of its own."""

    pause_seconds: float = 0.05


@define_job(name="Crawl")
async def crawl(params: Endless, context: JobContext) -> None:
    try:
        for page in itertools.count(1):
            await context.update_progress(100 - 100 / page, f"page {page}")
            await asyncio.sleep(params.pause_seconds)
    finally:
        print("crawl: interrupted, cleaning up")


@define_job(name="Crunch")
def crunch(params: Endless, context: JobContext) -> None:
    for number in itertools.count(1):
        if context.cancelled:
            print("crunch: saw that it should stop")
            context.raise_if_cancelled()
        context.update_progress(100 - 100 / number, f"number {number}")
        time.sleep(params.pause_seconds)


async def watch_then_cancel(job: Job[Endless, None]) -> None:
    job_id = await job.later({})
    async with asyncio.timeout(20):
        while True:
            record = await job.get(job_id)
            if record.progress > 0:
                break
            await asyncio.sleep(0.05)
    print(f"{job.name}: {record.progress:.0f} %, {record.progress_message}")

    await job.cancel(job_id)  # a request: the handler ends first, then the job does
    result = await job.wait(job_id, timeout=20)
    print(f"{job.name}: {result.metadata.status}")
    assert result.metadata.status is JobStatus.CANCELLED


async def main(url: str) -> None:
    migrate(url)
    database = connect(url)
    registry = create_job_registry().register(crawl).register(crunch).bind(database)
    worker = LocalWorker(database=database, job_registry=registry)
    working = asyncio.create_task(worker.run_until_stopped())

    await asyncio.gather(watch_then_cancel(crawl), watch_then_cancel(crunch))

    worker.stop()
    await working
    await database.close()


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(f"sqlite:///{folder}/jobs.db"))
