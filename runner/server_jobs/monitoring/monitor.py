"""Reads figures about the jobs of a database: which wait, which run, how they ended, who works.

The figures are for people and their monitoring; executing jobs needs none of them.
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
from server_jobs.sql.fit import as_text

_CLOCKS_DIFFER_BY = 3_600.0
"""How far the clocks of the machines that make ids may differ without a job being overlooked."""

_WAITED_AT_MOST = 86_400.0
"""Jobs that were enqueued longer than this before they ended don't count as a worker's activity.

The bound lets the query find its rows by the primary key.
"""


class LiveKind(StrEnum):
    """Says what a job that hasn't ended is doing.

    ``due`` waits for a worker, ``later`` isn't due yet, ``running`` has a valid lease, and the
    lease of ``expired`` is over.
    """

    DUE = "due"
    LATER = "later"
    RUNNING = "running"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class LiveJobs:
    """Counts the live jobs of one queue, name and kind.

    ``seconds`` says how long the oldest one has been due, has run, or has been without a valid
    lease. For ``later`` it is negative: minus the time until the first one is due.
    """

    queue: str
    job_name: str
    kind: LiveKind
    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class EndedJobs:
    """Counts the jobs of one name that ended with one status.

    ``mean``, ``p50``, ``p95`` and ``longest`` are the run times of their last attempts, in seconds;
    they are None if no handler ran.
    """

    job_name: str
    status: JobStatus
    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    longest: float | None


@dataclass(frozen=True, slots=True)
class Activity:
    """Counts the jobs of one queue and name that a worker is running, or has ended.

    ``seconds`` is how long ago the last of them was written.
    """

    worker_id: str
    queue: str
    job_name: str
    running: bool
    count: int
    seconds: float


class Monitor:
    """Reads the figures of one database. Methods raise DatabaseError.

    ``now`` replaces the database's clock by another SQL expression.
    """

    def __init__(self, database: Database, now: ColumnElement[datetime] | None = None) -> None:
        self.database = database
        self._sql = MonitoringStatements.of(database, now)

    async def live(self) -> list[LiveJobs]:
        """Count the pending and running jobs by queue, name and kind.

        The cost doesn't grow with the number of ended jobs.
        """
        return [
            LiveJobs(as_text(queue), as_text(name), LiveKind(kind), int(count), seconds or 0.0)
            for queue, name, kind, count, seconds in await self.database.execute(self._sql.live())
        ]

    async def ended(
        self,
        within: float | None,
        *,
        queues: Sequence[str] = (),
        job_names: Sequence[str] = (),
    ) -> list[EndedJobs]:
        """Count the jobs that were enqueued in the last ``within`` seconds and have ended.

        The counts are by name and status. The cost grows with the jobs that were enqueued in that
        time. With None, all ended jobs count, and it reads the whole table. ``queues`` and
        ``job_names`` restrict it to these.
        """
        statement = self._sql.ended(
            floor=_least_id(within), within=within, queues=queues, job_names=job_names
        )
        return [
            EndedJobs(as_text(name), JobStatus(status), *figures)
            for name, status, *figures in await self.database.execute(statement)
        ]

    async def activity(self, within: float) -> list[Activity]:
        """List the workers that run jobs now, or ended some in the last ``within`` seconds.

        Ended jobs count only if they were enqueued at most a day before that time.
        """
        statement = self._sql.activity(floor=_least_id(within + _WAITED_AT_MOST), within=within)
        return [
            Activity(
                as_text(worker),
                as_text(queue),
                as_text(name),
                kind == "running",
                int(count),
                seconds or 0.0,
            )
            for worker, queue, name, kind, count, seconds in await self.database.execute(statement)
        ]


def _least_id(within: float | None) -> str:
    """Compute the lower bound of the ids of jobs that were enqueued in the last ``within`` seconds.

    Ids are UUIDv7 and begin with the moment at which they were made.
    """
    if within is None:
        return ""
    moment = max(0, int((time.time() - within - _CLOCKS_DIFFER_BY) * 1_000))
    digits = f"{moment:012x}"
    return f"{digits[:8]}-{digits[8:]}"
