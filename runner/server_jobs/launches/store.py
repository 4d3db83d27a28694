"""Reads and renews launches. Plain data in, plain data out; the jobs' store settles them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.sql.elements import ColumnElement

from server_jobs.database import Database
from server_jobs.launches.launch import Launch
from server_jobs.launches.statements import LaunchStatements
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import Claim
from server_jobs.records.status import JobStatus
from server_jobs.sql.statement import Row
from server_jobs.store.store import Store


class LaunchStore:
    """The launches of one installation: rows whose worker id begins with ``prefix``.

    ``now`` replaces the database's clock by another SQL expression.
    """

    def __init__(
        self, database: Database, prefix: str, now: ColumnElement[datetime] | None = None
    ) -> None:
        self.database = database
        self.prefix = prefix
        self.records = Store(database, now)
        self._sql = LaunchStatements.of(database, now)

    async def claim(
        self,
        queue: str,
        *,
        job_names: Sequence[str] | None,
        limit: int,
        worker_id: str,
        lease_seconds: float,
    ) -> list[Launch]:
        """Claim due jobs that another process will execute, the most urgent first → launches."""
        claimed = await self.records.claim(
            ClaimRequest(queue, job_names, limit, worker_id, lease_seconds, starting=False)
        )
        if not claimed:
            return []
        found = await self.read([job.id for job in claimed])
        return [
            found[job.id] for job in claimed if job.id in found and found[job.id].claim == job.claim
        ]

    async def in_hand(self) -> dict[str, Launch]:
        """Return all running jobs of the installation, by id."""
        return _launches(await self.database.execute(self._sql.in_hand(self.prefix)))

    async def cancelled(self) -> dict[str, Launch]:
        """Return those of them whose cancellation was requested, by id."""
        return _launches(await self.database.execute(self._sql.cancelled(self.prefix)))

    async def read(self, job_ids: Iterable[str]) -> dict[str, Launch]:
        """Return rows of any status, by id. Rows that are gone aren't among them."""
        wanted = list(job_ids)
        return _launches(await self.database.execute(self._sql.read(wanted))) if wanted else {}

    async def last_errors(self, job_ids: Iterable[str]) -> dict[str, AttemptError]:
        """Return the last error of each row, by id. Rows without errors aren't among them."""
        wanted = list(job_ids)
        if not wanted:
            return {}
        rows = await self.database.execute(self._sql.errors(wanted))
        kept = {job_id: json.loads(errors) for job_id, errors in rows}
        return {
            job_id: AttemptError.from_document(errors[-1])
            for job_id, errors in kept.items()
            if isinstance(errors, list) and errors
        }

    async def renew(self, claims: Iterable[Claim], *, lease_seconds: float) -> set[str]:
        """Renew the leases of jobs whose handler hasn't begun → the ids of those still held."""
        held = [tuple(claim) for claim in claims]
        if not held:
            return set()
        renewing = self._sql.renew(held, lease_seconds=lease_seconds)
        return {job_id for (job_id,) in await self.database.execute(renewing)}


def _launches(rows: Iterable[Row]) -> dict[str, Launch]:
    launches = (Launch(*row) for row in rows)
    return {launch.id: replace(launch, status=JobStatus(launch.status)) for launch in launches}
