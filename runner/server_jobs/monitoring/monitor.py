"""How the jobs of a database are doing: what waits, what runs, how it ended, and who works.

For people and their monitoring; nothing that executes jobs asks for any of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.sql.elements import ColumnElement

from server_jobs.database import Database
from server_jobs.monitoring.statements import MonitoringStatements
from server_jobs.records.status import JobStatus

_CLOCKS_DIFFER_BY = 3_600.0
"""How far the clocks of machines that make ids may be apart, so that none is overlooked."""

_WAITED_AT_MOST = 86_400.0
"""How long a job may have waited whose end is still a sign of its worker."""


class LiveKind(StrEnum):
    """What a job that hasn't ended waits for, or does."""

    DUE = "due"
    LATER = "later"
    RUNNING = "running"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class LiveJobs:
    """How many jobs of a queue and name there are of a kind.

    ``seconds`` is how long the oldest has been due, has run, or is without a valid lease.
    """

    queue: str
    job_name: str
    kind: LiveKind
    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class EndedJobs:
    """How many jobs of a name ended so, and how long their last handler ran, in seconds."""

    job_name: str
    status: JobStatus
    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    longest: float | None


@dataclass(frozen=True, slots=True)
class Activity:
    """What a worker holds or has ended, of a queue and name, and how long ago it last did."""

    worker_id: str
    queue: str
    job_name: str
    running: bool
    count: int
    seconds: float


class Monitor:
    """Reads the figures of one database.

    ``now`` replaces the database's clock by another SQL expression.
    """

    def __init__(self, database: Database, now: ColumnElement[datetime] | None = None) -> None:
        self.database = database
        self._sql = MonitoringStatements.of(database, now)

    async def live(self) -> list[LiveJobs]:
        """What is pending and running, by queue and name, whatever else has ended."""
        return [
            LiveJobs(queue, name, LiveKind(kind), int(count), seconds)
            for queue, name, kind, count, seconds in await self.database.execute(self._sql.live())
        ]

    async def ended(
        self,
        within: float | None,
        *,
        queues: Sequence[str] = (),
        job_names: Sequence[str] = (),
    ) -> list[EndedJobs]:
        """How the jobs ended that were enqueued ``within`` so many seconds, by name and status.

        Costs what was enqueued in that time; with None, it reads every row that there is.
        """
        statement = self._sql.ended(
            floor=_least_id(within), within=within, queues=queues, job_names=job_names
        )
        return [
            EndedJobs(name, JobStatus(status), *figures)
            for name, status, *figures in await self.database.execute(statement)
        ]

    async def activity(self, within: float) -> list[Activity]:
        """Who runs jobs now, or ended some ``within`` so many seconds.

        Of the ended ones, only those that were enqueued within a day before.
        """
        statement = self._sql.activity(floor=_least_id(within + _WAITED_AT_MOST), within=within)
        return [
            Activity(worker, queue, name, kind == "running", int(count), seconds)
            for worker, queue, name, kind, count, seconds in await self.database.execute(statement)
        ]


def _least_id(within: float | None) -> str:
    """What the UUIDv7 of a job that was enqueued so many seconds ago begins with, at the least."""
    if within is None:
        return ""
    moment = max(0, int((time.time() - within - _CLOCKS_DIFFER_BY) * 1_000))
    digits = f"{moment:012x}"
    return f"{digits[:8]}-{digits[8:]}"
