"""Reads the run's current state from the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Text, bindparam, func, select

from server_jobs import JobRecord, JobStatus
from server_jobs.database import Database
from server_jobs.records.requests import JobFilter
from server_jobs.records.rows import Claim
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store

_TROUBLED = 20
"""At most so many jobs with an error are read."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts all jobs of the run, and holds the records of special jobs and of jobs with errors."""

    counts: Mapping[JobStatus, int]
    by_worker: Mapping[tuple[str, JobStatus], int]
    special: Sequence[JobRecord]
    troubled: Sequence[JobRecord]

    @property
    def ended(self) -> int:
        """How many jobs have ended."""
        return sum(count for status, count in self.counts.items() if status.finished)

    @property
    def total(self) -> int:
        """How many jobs there are."""
        return sum(self.counts.values())

    def holds(self, worker_id: str) -> bool:
        """Tell whether a worker has running jobs, by the rows."""
        return self.by_worker.get((worker_id, JobStatus.RUNNING), 0) > 0

    def of_process(self, pid: int, status: JobStatus) -> int:
        """Count the jobs of that status that a worker process holds, or held last."""
        return sum(
            count
            for (worker_id, its_status), count in self.by_worker.items()
            if its_status is status and f"/{pid}/" in worker_id
        )


class SnapshotReader:
    """Reads snapshots of one run, by two small queries and a few records."""

    def __init__(self, database: Database, run: str, special_ids: Sequence[str]) -> None:
        self._store = Store(database)
        self._special_ids = special_ids
        self._run = run
        # The API has no such counts. The table is documented, so SQL may ask it.
        job = database.tables.jobs.c
        ours = job.correlation_id == bindparam("run", type_=Text())
        self._count = (
            select(job.status, job.worker_id, func.count())
            .where(ours)
            .group_by(job.status, job.worker_id)
        )
        # Completing a job clears its error.
        self._trouble = (
            select(job.id).where(ours, job.error.is_not(None)).order_by(job.id).limit(_TROUBLED)
        )

    async def read(self) -> Snapshot:
        """Read the current state."""
        counts, by_worker = Counter[JobStatus](), Counter[tuple[str, JobStatus]]()
        rows = await self._store.database.execute(Statement(self._count, {"run": self._run}))
        for status, worker_id, count in rows:
            counts[JobStatus(status)] += count
            if worker_id is not None:
                by_worker[worker_id, JobStatus(status)] += count
        special = [await self._store.get(job_id) for job_id in self._special_ids]
        found = await self._store.database.execute(Statement(self._trouble, {"run": self._run}))
        troubled = [
            await self._store.get(job_id) for (job_id,) in found if job_id not in self._special_ids
        ]
        return Snapshot(counts, by_worker, special, troubled)

    async def held_by(self, worker_id: str) -> set[Claim]:
        """Read the claims that a worker holds, dead or alive."""
        return await self._store.held_by(worker_id)

    async def everything(self) -> list[JobRecord]:
        """Read all records of the run, page by page → in the order of their enqueuing."""
        records: list[JobRecord] = []
        while page := await self._store.list_jobs(
            JobFilter(correlation_id=self._run),
            before_id=records[-1].id if records else None,
            limit=500,
        ):
            records += page
        return records[::-1]
