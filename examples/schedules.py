"""A schedule declared in code: what it will do, and what a worker makes of it."""

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import islice

from pydantic import BaseModel

from server_jobs import connect, create_job_registry, define_job
from server_jobs.migrate import migrate
from server_jobs.schedules import ScheduleStore
from server_jobs.worker import LocalWorker


class Report(BaseModel):
    """What the handler takes."""

    region: str


sent = asyncio.Event()


@define_job(name="SendReport")
async def send_report(params: Report) -> None:
    print(f"the report of the {params.region}")
    sent.set()


registry = create_job_registry(app="reporting").register(send_report)
registry.schedule(
    send_report,
    "0 9 * * 1-5",
    params={"region": "north"},
    time_zone="Europe/Zurich",
    name="weekday-report",
)


async def main(url: str) -> None:
    migrate(url)
    database = connect(url)
    registry.bind(database)

    # What it will do: a Friday, a weekend, and a change of clocks in between.
    (schedule,) = registry.schedules
    for moment in islice(schedule.fire_times(datetime(2027, 3, 26, tzinfo=UTC)), 2):
        print(f"fires at {moment:%a %Y-%m-%d %H:%M} UTC")

    # A worker writes it into the table when it starts, and from then on fires it.
    worker = LocalWorker(database=database, job_registry=registry)
    working = asyncio.create_task(worker.run_until_stopped())
    schedules = ScheduleStore(database)
    async with asyncio.timeout(20):
        while True:
            stored = await schedules.find("weekday-report")
            if stored is not None:
                break
            await asyncio.sleep(0.05)
        assert stored.next_run_at is not None
        assert stored.next_run_at - datetime.now(UTC) < timedelta(days=4)

        # Nobody wants to wait for nine o'clock: `server-jobs schedule run-now weekday-report`.
        await schedules.run_now("weekday-report")
        await sent.wait()

    worker.stop()
    await working
    await database.close()


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(f"sqlite:///{folder}/jobs.db"))
