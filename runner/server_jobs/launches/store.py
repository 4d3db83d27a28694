"""Reads and renews launches. Plain data in, plain data out; the jobs' store settles them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Column, Integer
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.database import Database
from server_jobs.errors import DataRefusedError
from server_jobs.launches.launch import LAUNCH_COLUMNS, Launch
from server_jobs.launches.statements import LaunchStatements
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import Claim, attempt_errors
from server_jobs.records.status import JobStatus, status_of
from server_jobs.sql.fit import Fit
from server_jobs.sql.statement import Row
from server_jobs.sql.tables import tables
from server_jobs.store.halves import in_halves
from server_jobs.store.store import Store

_log = logging.getLogger("server_jobs.store")

_LAUNCH = Fit(
    [
        *(tables().jobs.c[name] for name in LAUNCH_COLUMNS),
        Column("out_of_memory", Integer, nullable=False),
    ]
)


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
        found = await self._read(job.id for job in claimed)
        launches = []
        for job in claimed:
            launch, misfits = found.get(job.id, (None, {}))
            if misfits:
                await self.records.set_misfit_aside(
                    job.id, misfits, worker_id=worker_id, fence=job.fence
                )
            elif launch is not None and launch.claim == job.claim:
                launches.append(launch)
        return launches

    async def in_hand(self) -> dict[str, Launch]:
        """Return all running jobs of the installation, by id."""
        return _launches(await self.database.execute(self._sql.in_hand(self.prefix)))

    async def cancelled(self) -> dict[str, Launch]:
        """Return those of them whose cancellation was requested, by id."""
        return _launches(await self.database.execute(self._sql.cancelled(self.prefix)))

    async def read(self, job_ids: Iterable[str]) -> dict[str, Launch]:
        """Return rows of any status, by id. Rows that are gone aren't among them."""
        return {job_id: launch for job_id, (launch, _) in (await self._read(job_ids)).items()}

    async def _read(self, job_ids: Iterable[str]) -> dict[str, tuple[Launch, dict[str, str]]]:
        """Return launches by id, each with what is wrong with its row, by column."""
        wanted = list(job_ids)
        rows = await self.database.execute(self._sql.read(wanted)) if wanted else []
        launches = [(_launch(row), _LAUNCH.misfits(row)) for row in rows]
        return {launch.id: (launch, misfits) for launch, misfits in launches}

    async def last_errors(self, job_ids: Iterable[str]) -> dict[str, AttemptError]:
        """Return the last error of each row, by id. Rows without errors aren't among them."""
        wanted = list(job_ids)
        if not wanted:
            return {}
        rows = await self.database.execute(self._sql.errors(wanted))
        kept = {job_id: attempt_errors(errors) for job_id, errors in rows}
        return {job_id: errors[-1] for job_id, errors in kept.items() if errors}

    async def renew(self, claims: Iterable[Claim], *, lease_seconds: float) -> set[str]:
        """Renew the leases of jobs whose handler hasn't begun → the ids of those still held."""
        renewed = await in_halves(
            list(claims),
            lambda held: self.database.execute(self._sql.renew(held, lease_seconds=lease_seconds)),
            _not_renewed,
        )
        return {job_id for (job_id,) in renewed}


async def _not_renewed(claim: Claim, error: DataRefusedError) -> None:
    _log.warning("job %s: its lease can't be renewed: %s", claim.job_id, error)


def _launches(rows: Iterable[Row]) -> dict[str, Launch]:
    launches = map(_launch, rows)
    return {launch.id: launch for launch in launches}


def _launch(row: Row) -> Launch:
    """Make a launch of a row, with a stand-in for each value that can't be used."""
    launch = Launch(*(row if _LAUNCH(row) else _LAUNCH.mended(row)))
    return replace(launch, status=status_of(launch.status) or JobStatus.FAILED)
