"""Reads job records: one of them, a page of them, how many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import TypeVar, cast

from sqlalchemy.sql.elements import ColumnElement

from server_jobs.database import Database
from server_jobs.errors import (
    ForeignTableError,
    JobNotFoundError,
    MigrationRequiredError,
    SchemaTooNewError,
)
from server_jobs.records.requests import ANY_JOB, JobCount, JobFilter, Tally
from server_jobs.records.rows import RECORD_COLUMNS, JobRecord, JobSummary
from server_jobs.records.status import JobStatus, status_of
from server_jobs.records.text import shown
from server_jobs.sql.fit import Fit, as_id, as_text
from server_jobs.sql.statement import Row
from server_jobs.sql.tables import OLDEST_SCHEMA, SCHEMA_VERSION, tables
from server_jobs.store.chunks import cut
from server_jobs.store.statements.read import ReadStatements

T = TypeVar("T")

_JOB = tables().jobs.c
_RECORD = Fit([_JOB[name] for name in RECORD_COLUMNS])
_SUMMARY = Fit([_JOB[name] for name in JobSummary.__dataclass_fields__])


class Reader:
    """Reads the records of one database, and changes nothing.

    ``now`` replaces the database's clock by another SQL expression.
    """

    def __init__(self, database: Database, now: ColumnElement[datetime] | None = None) -> None:
        self.database = database
        self._read_sql = ReadStatements.of(database, now)

    async def get(self, job_id: str) -> JobRecord:
        """Return one record. Raises JobNotFoundError."""
        rows = await self.database.execute(self._read_sql.get(job_id))
        if not rows:
            raise JobNotFoundError(f"there is no job {job_id}")
        return _record(rows[0])

    async def by_prefix(self, prefix: str, limit: int = 2) -> list[JobRecord]:
        """Return at most ``limit`` records whose id begins with ``prefix``."""
        return [
            _record(row)
            for row in await self.database.execute(self._read_sql.by_prefix(prefix, limit))
        ]

    async def summaries(self, job_ids: Sequence[str]) -> list[JobSummary]:
        """Return how jobs stand, in no order. Ids without a record are left out."""
        return [
            _summary(row)
            for chunk in self._cut(job_ids, len)
            for row in await self.database.execute(self._read_sql.summaries(chunk))
        ]

    async def ended(self, job_ids: Collection[str]) -> set[str]:
        """Return the ids of those jobs that have ended, or have no record any more."""
        return {
            job_id
            for chunk in self._cut(list(job_ids), len)
            for (job_id,) in await self.database.execute(self._read_sql.ended(chunk))
        }

    async def list_jobs(
        self, wanted: JobFilter = ANY_JOB, *, before_id: str | None = None, limit: int = 50
    ) -> list[JobRecord]:
        """Return records that fit, newest first, below ``before_id`` (the last id seen)."""
        statement = self._read_sql.list_jobs(wanted, before_id=before_id, limit=limit)
        return [_record(row) for row in await self.database.execute(statement)]

    async def list_ids(
        self, wanted: JobFilter = ANY_JOB, *, before_id: str | None = None, limit: int = 1_000
    ) -> list[str]:
        """Return ids of jobs that fit, newest first, below ``before_id`` (the last id seen)."""
        statement = self._read_sql.list_ids(wanted, before_id=before_id, limit=limit)
        return [as_id(job_id) for (job_id,) in await self.database.execute(statement)]

    async def list_live(self, wanted: JobFilter = ANY_JOB, *, limit: int = 50) -> list[JobSummary]:
        """Return pending and running jobs that fit, newest first."""
        statement = self._read_sql.list_live(wanted, limit=limit)
        return [_summary(row) for row in await self.database.execute(statement)]

    async def tally(self, wanted: JobFilter = ANY_JOB) -> Tally:
        """Count the jobs that fit, by status."""
        counts: Counter[JobStatus] = Counter()
        ids = []
        for status, count, newest in await self.database.execute(self._read_sql.tally(wanted)):
            counts[status_of(status) or JobStatus.FAILED] += count
            ids.append(as_id(newest))
        return Tally(counts, max(ids, default=None))

    async def counts(self) -> list[JobCount]:
        """Count all jobs by name, queue and status. The cost grows with the table."""
        return [
            JobCount(
                as_text(name),
                as_text(queue),
                status_of(status) or JobStatus.FAILED,
                count,
                seconds,
            )
            for name, queue, status, count, seconds in await self.database.execute(
                self._read_sql.counts()
            )
        ]

    async def outstanding(
        self, *, queues: Sequence[str], job_names: Sequence[str], within_seconds: float
    ) -> bool:
        """Return whether a pending job of these queues and names is due in ``within_seconds``."""
        statement = self._read_sql.outstanding(
            queues=queues, job_names=job_names, within_seconds=within_seconds
        )
        return bool(await self.database.execute(statement))

    async def available(self, *, queues: Sequence[str], job_names: Sequence[str]) -> int:
        """Count the jobs of these queues and names that can be claimed now, up to a thousand."""
        statement = self._read_sql.available(queues=queues, job_names=job_names, limit=1_000)
        return int((await self.database.execute(statement))[0][0])

    async def clock(self) -> datetime:
        """Return the moment by the database's clock."""
        return cast("datetime", (await self.database.execute(self._read_sql.clock()))[0][0])

    async def check_schema(self) -> None:
        """Raise SchemaError unless this release can work on the tables."""
        name = self.database.tables.info.name
        try:
            rows = await self.database.execute(self._read_sql.schema_info())
        except MigrationRequiredError as error:
            await self._raise_if_foreign(error)
            raise
        version, oldest_code = rows[0] if rows else (0, 0)
        if version < OLDEST_SCHEMA:
            raise MigrationRequiredError(
                f"the tables are at version {version} ({name}), this release needs"
                f" {OLDEST_SCHEMA}: run `server-jobs migrate`"
            )
        if oldest_code > SCHEMA_VERSION:
            raise SchemaTooNewError(
                f"the tables are at version {version} ({name}) and serve releases from schema"
                f" {oldest_code} on; this one knows {SCHEMA_VERSION}: upgrade server-jobs"
            )

    async def _raise_if_foreign(self, missing: MigrationRequiredError) -> None:
        """Raise ForeignTableError if there is a ``jobs`` table that server-jobs didn't make."""
        try:
            await self.database.execute(self._read_sql.get(""))
        except MigrationRequiredError as error:
            if "column" not in str(error):
                return
            table = self.database.tables.jobs.fullname
            raise ForeignTableError(
                f"the database has a table {table} that server-jobs didn't make; set a table"
                " prefix (SERVER_JOBS_TABLE_PREFIX) or, on PostgreSQL, a schema"
                " (SERVER_JOBS_SCHEMA)"
            ) from missing

    def _cut(self, items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
        return cut(items, size, max_statement_bytes=self.database.capabilities.max_statement_bytes)


def _record(row: Row) -> JobRecord:
    if _RECORD(row):
        misfits = {}
    else:
        misfits, row = _RECORD.misfits(row), _RECORD.mended(row)
    record = dict(zip(RECORD_COLUMNS, row, strict=True))
    status = status_of(record["status"])
    if status is None:
        misfits["status"] = f"holds {shown(record['status'])}, which isn't a status"
    record["status"] = status or JobStatus.FAILED
    return JobRecord(**record, misfits=misfits)


def _summary(row: Row) -> JobSummary:
    if not _SUMMARY(row):
        row = _SUMMARY.mended(row)
    summary = dict(zip(JobSummary.__dataclass_fields__, row, strict=True))
    summary["status"] = status_of(summary["status"]) or JobStatus.FAILED
    return JobSummary(**summary)
