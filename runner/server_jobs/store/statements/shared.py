"""What the statements on jobs share: parameters, the columns of a claim, and the fence.

Rows travel as lists of tuples through :func:`server_jobs.sql.rowset.rows`, so that one settled
job and a hundred are the same statement. What a transition sets stands in ``store.transitions``;
who may make it stands in these modules, in the ``WHERE``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Float, Integer, Text, Update, bindparam, update
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import Subquery

from server_jobs.records.status import JobStatus
from server_jobs.sql.statement_set import StatementSet
from server_jobs.sql.tables import status_is
from server_jobs.store import transitions

Rows = Sequence[Sequence[Any]]
"""Values for a ``rows`` parameter; their order is that of the method's docstring."""

CLAIMED_COLUMNS = (
    "id",
    "job_name",
    "queue",
    "priority",
    "params",
    "fence",
    "attempt_count",
    "max_attempts",
    "retry_policy",
    "timeout_seconds",
    "correlation_id",
    "worker_id",
    "scheduled_for",
)

LEASE_SECONDS = bindparam("lease_seconds", type_=Float())
WORKER_ID = bindparam("worker_id", type_=Text())
LIMIT = bindparam("limit", type_=Integer())
ID = bindparam("id", type_=Text())


class JobStatements(StatementSet):
    """What the statements on jobs share."""

    @cached_property
    def _claimed(self) -> list[ColumnElement[Any]]:
        return [self._jobs.c[name] for name in CLAIMED_COLUMNS]

    def _update(self, *conditions: Any, changes: transitions.Changes) -> Update:
        return update(self._jobs).where(*conditions).values(**changes)

    def _fenced_update(
        self, held: Subquery, changes: transitions.Changes, *conditions: ColumnElement[bool]
    ) -> Update:
        """Write as the holder: only rows that still run under the fence of their claim."""
        job = self._jobs.c
        return self._update(
            job.id == held.c.id,
            status_is(job.status, JobStatus.RUNNING),
            job.fence == held.c.fence,
            *conditions,
            changes=changes,
        )
