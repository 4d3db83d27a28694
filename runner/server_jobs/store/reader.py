"""Reading job records: one of them, a page of them, how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar, cast

from sqlalchemy.sql.elements import ColumnElement

from server_jobs.database import Database
from server_jobs.errors import JobNotFoundError
from server_jobs.records.requests import ANY_JOB, JobCount, JobFilter, Tally
from server_jobs.records.rows import JobRecord, JobSummary
from server_jobs.records.status import JobStatus
from server_jobs.sql.statement import Row
from server_jobs.store.chunks import cut
from server_jobs.store.statements.read import ReadStatements

T = TypeVar("T")


class Reader:
    """Reads the records of one database, and changes nothing.

    ``now`` replaces the database's clock by another SQL expression.
    """

    def __init__(self, database: Database, now: ColumnElement[datetime] | None = None) -> None:
        self.database = database
        self._read = ReadStatements.of(database, now)

    async def get(self, job_id: str) -> JobRecord:
        """One record. Raises JobNotFoundError."""
        rows = await self.database.execute(self._read.get(job_id))
        if not rows:
            raise JobNotFoundError(f"there is no job {job_id}")
        return _record(rows[0])

    async def by_prefix(self, prefix: str, limit: int = 2) -> list[JobRecord]:
        """Records whose id begins so."""
        return [
            _record(row) for row in await self.database.execute(self._read.by_prefix(prefix, limit))
        ]

    async def summaries(self, job_ids: Sequence[str]) -> list[JobSummary]:
        """How those of these jobs stand that there are, in no order."""
        return [
            _summary(row)
            for chunk in self._cut(job_ids, len)
            for row in await self.database.execute(self._read.summaries(chunk))
        ]

    async def list_jobs(
        self, wanted: JobFilter = ANY_JOB, *, before_id: str | None = None, limit: int = 50
    ) -> list[JobRecord]:
        """Records that fit, newest first; ``before_id`` is the last one of the page before."""
        statement = self._read.list_jobs(wanted, before_id=before_id, limit=limit)
        return [_record(row) for row in await self.database.execute(statement)]

    async def list_ids(
        self, wanted: JobFilter = ANY_JOB, *, before_id: str | None = None, limit: int = 1_000
    ) -> list[str]:
        """Ids of jobs that fit, newest first; ``before_id`` is the last one of the page before."""
        statement = self._read.list_ids(wanted, before_id=before_id, limit=limit)
        return [job_id for (job_id,) in await self.database.execute(statement)]

    async def list_live(self, wanted: JobFilter = ANY_JOB, *, limit: int = 50) -> list[JobSummary]:
        """Pending and running jobs that fit, newest first."""
        statement = self._read.list_live(wanted, limit=limit)
        return [_summary(row) for row in await self.database.execute(statement)]

    async def tally(self, wanted: JobFilter = ANY_JOB) -> Tally:
        """How many jobs fit."""
        rows = await self.database.execute(self._read.tally(wanted))
        return Tally(
            {JobStatus(status): count for status, count, _ in rows},
            max((newest for _, _, newest in rows), default=None),
        )

    async def counts(self) -> list[JobCount]:
        """How many jobs there are by name, queue and status."""
        return [
            JobCount(name, queue, JobStatus(status), count, seconds)
            for name, queue, status, count, seconds in await self.database.execute(
                self._read.counts()
            )
        ]

    async def outstanding(
        self, *, queues: Sequence[str], job_names: Sequence[str], within_seconds: float
    ) -> bool:
        """Whether a pending job of these is due by then."""
        statement = self._read.outstanding(
            queues=queues, job_names=job_names, within_seconds=within_seconds
        )
        return bool(await self.database.execute(statement))

    async def available(self, *, queues: Sequence[str], job_names: Sequence[str]) -> int:
        """How many jobs of these could be claimed now, counted up to a thousand."""
        statement = self._read.available(queues=queues, job_names=job_names, limit=1_000)
        return int((await self.database.execute(statement))[0][0])

    async def clock(self) -> datetime:
        """The moment by the database's clock."""
        return cast("datetime", (await self.database.execute(self._read.clock()))[0][0])

    def _cut(self, items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
        return cut(items, size, max_statement_bytes=self.database.capabilities.max_statement_bytes)


def _record(row: Row) -> JobRecord:
    record = dict(zip(JobRecord.__dataclass_fields__, row, strict=True))
    record["status"] = JobStatus(record["status"])
    return JobRecord(**record)


def _summary(row: Row) -> JobSummary:
    summary = dict(zip(JobSummary.__dataclass_fields__, row, strict=True))
    summary["status"] = JobStatus(summary["status"])
    return JobSummary(**summary)
