"""The statements of a launcher: they read an installation's launches and renew their leases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import BigInteger, Float, Text, bindparam, func, select, update
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.launches.launch import LAUNCH_COLUMNS
from server_jobs.records.attempt_error import OUT_OF_MEMORY
from server_jobs.records.status import JobStatus
from server_jobs.sql.constructs import add_seconds, count_errors
from server_jobs.sql.rowset import one_of, rows
from server_jobs.sql.statement import Statement
from server_jobs.sql.statement_set import StatementSet
from server_jobs.sql.tables import status_is

Rows = Sequence[Sequence[Any]]
"""Values for a ``rows`` parameter, in the order that the method's docstring gives."""


class LaunchStatements(StatementSet):
    """The statements for one set of tables."""

    def in_hand(self, prefix: str) -> Statement:
        """Read all running jobs whose worker id begins with the prefix → launches."""
        return Statement(self._in_hand, {"prefix": prefix})

    @cached_property
    def _in_hand(self) -> Executable:
        return select(*self._launch).where(*self._runs_below_prefix())

    def cancelled(self, prefix: str) -> Statement:
        """Read those of them whose cancellation was requested → launches."""
        return Statement(self._cancelled, {"prefix": prefix})

    @cached_property
    def _cancelled(self) -> Executable:
        return select(*self._launch).where(
            *self._runs_below_prefix(), self._jobs.c.cancel_requested_at.is_not(None)
        )

    def read(self, job_ids: Sequence[str]) -> Statement:
        """Read rows of any status by id → launches, in no order."""
        return Statement(self._read, {"job_ids": list(job_ids)})

    @cached_property
    def _read(self) -> Executable:
        return select(*self._launch).where(one_of(self._jobs.c.id, "job_ids"))

    def errors(self, job_ids: Sequence[str]) -> Statement:
        """Read the errors of rows → (id, errors as JSON text)."""
        return Statement(self._errors, {"job_ids": list(job_ids)})

    @cached_property
    def _errors(self) -> Executable:
        job = self._jobs.c
        return select(job.id, job.errors).where(one_of(job.id, "job_ids"))

    def renew(self, held: Rows, *, lease_seconds: float) -> Statement:
        """Renew the leases of (id, fence) whose handler hasn't begun → ids of those renewed."""
        return Statement(self._renew, {"held": held, "lease_seconds": lease_seconds})

    @cached_property
    def _renew(self) -> Executable:
        held = rows("held", id=Text(), fence=BigInteger())
        job = self._jobs.c
        expires = add_seconds(self._now, bindparam("lease_seconds", type_=Float()))
        return (
            update(self._jobs)
            .where(
                job.id == held.c.id,
                status_is(job.status, JobStatus.RUNNING),
                job.fence == held.c.fence,
                # From its beginning on, the runner renews the lease.
                job.handler_started_at.is_(None),
            )
            .values(worker_expires_at=expires, updated_at=self._now)
            .returning(job.id)
        )

    def _runs_below_prefix(self) -> tuple[ColumnElement[bool], ...]:
        job = self._jobs.c
        prefix = bindparam("prefix", type_=Text())
        # Not LIKE: a name may contain its wildcards. Running jobs are few and have an index.
        begins = func.substr(job.worker_id, 1, func.length(prefix)) == prefix
        return status_is(job.status, JobStatus.RUNNING), begins

    @cached_property
    def _launch(self) -> list[ColumnElement[Any]]:
        jobs = self._jobs.c
        return [*(jobs[name] for name in LAUNCH_COLUMNS), count_errors(jobs.errors, OUT_OF_MEMORY)]
