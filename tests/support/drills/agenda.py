"""Schedules by a clock that only the test moves, and the jobs that come of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from server_jobs.database import Database
from server_jobs.records.outcomes import Completed
from server_jobs.records.rows import ClaimedJob, JobRecord
from server_jobs.records.status import JobStatus
from server_jobs.schedules import Decision, Schedule, ScheduleRecord, ScheduleStore
from server_jobs.schedules.scheduler import Scheduler, Ticked
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store
from tests.support.clock import Clock
from tests.support.scene import claim_of

NAME = "report"
JOB = "Report"
START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
"""A Monday; no zone that the tests name changes its clock within a fortnight."""


def schedule(expression: str = "0 * * * *", name: str = NAME, **options: Any) -> Schedule:
    options.setdefault("job_name", JOB)
    return Schedule(name=name, cron_expression=expression, **options)


class Agenda:
    """A schedule store, and a scheduler that has run since eight o'clock."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.clock = clock
        clock.value = START
        self.database = database
        self.store = Store(database, now=clock.expression)
        self.schedules = ScheduleStore(database, now=clock.expression)
        self.scheduler = Scheduler(self.schedules)

    async def put(self, *args: Any, **options: Any) -> ScheduleRecord:
        return await self.schedules.put(schedule(*args, **options))

    async def get(self, name: str = NAME) -> ScheduleRecord:
        return await self.schedules.get(name)

    async def tick_at(self, moment: str | datetime) -> Ticked:
        """Set the clock to ``HH:MM[:SS]`` of that Monday, or to a moment, and tick."""
        self.clock.value = at(moment) if isinstance(moment, str) else moment
        return await self.scheduler.tick()

    async def decision_at(self, moment: str | datetime, name: str = NAME) -> Decision | None:
        return (await self.tick_at(moment)).decisions.get(name)

    async def jobs(self, name: str = NAME) -> list[JobRecord]:
        """The jobs of a schedule, by fire time."""
        schedule_id = (await self.get(name)).id
        found = [
            job
            for job in await self.store.list_jobs(limit=100_000)
            if job.cron_job_id == schedule_id
        ]
        return sorted(found, key=lambda job: (job.cron_fire_at or START, job.id))

    async def fired(self, name: str = NAME) -> list[str]:
        """The fire times that have a job, as ``HH:MM``, or ``DD HH:MM`` on another day."""
        return [
            _short(job.cron_fire_at)
            for job in await self.jobs(name)
            if job.cron_fire_at is not None
        ]

    async def claim(self) -> ClaimedJob:
        """Begin the oldest job, for an hour."""
        (job,) = await self.store.claim(claim_of(job_names=(JOB,), lease_seconds=86_400))
        return job

    async def complete(self, job: ClaimedJob) -> None:
        await self.store.settle({job.claim: Completed("null")})

    async def statuses(self, name: str = NAME) -> list[JobStatus]:
        return [job.status for job in await self.jobs(name)]

    async def sql(self, sql: str, **values: Any) -> None:
        """What a person does by hand."""
        await self.database.execute(Statement(text(sql), values))

    def stamp(self, moment: datetime) -> str:
        """A moment as a person writes it into SQL: without a fraction."""
        zone = "+00" if self.database.dialect.name == "postgresql" else ""
        return f"{moment:%Y-%m-%d %H:%M:%S}{zone}"


def at(clock_time: str) -> datetime:
    """A time of that Monday, in UTC."""
    hours, minutes, seconds = (*map(int, clock_time.split(":")), 0)[:3]
    return START.replace(hour=hours, minute=minutes, second=seconds)


def days(number: float) -> timedelta:
    return timedelta(days=number)


def _short(moment: datetime) -> str:
    return f"{moment:%H:%M}" if moment.date() == START.date() else f"{moment:%d %H:%M}"
