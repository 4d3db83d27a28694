"""What the statements on jobs share: parameters, the columns of a claim, and the fence.

Rows travel as lists of tuples through :func:`server_jobs.sql.rowset.rows`, so that one settled
job and a hundred are the same statement. What a transition sets stands in ``store.transitions``;
who may make it stands in these modules, in the ``WHERE``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    Float,
    Integer,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import FromClause

from server_jobs.records.status import JobStatus
from server_jobs.sql.rowset import one_of
from server_jobs.sql.statement import Statement
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

    def keys_in_turn(self) -> list[Statement]:
        """Wait for the turn to take unique keys: the first step of a batch that takes several, or
        that locks rows besides.

        Whoever takes a key waits for those who take it, free it or write to its row just now, and
        would then hold what they wait for. It is no step at all on a database with one writer.
        """
        return [Statement(self._keys_in_turn)] if self._postgres else []

    @cached_property
    def _keys_in_turn(self) -> Executable:
        name = f"unique keys of {self._jobs.fullname}"
        number = int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
        return select(func.pg_advisory_xact_lock(literal_column(str(number))))

    def _these(self, condition: Callable[..., ColumnElement[bool]], **how: bool) -> Select[Any]:
        """Those of the jobs ``job_ids`` that fulfil a condition, locked in order of their ids."""
        candidate = self._jobs.alias("candidate").c
        return (
            select(candidate.id)
            .where(one_of(candidate.id, "job_ids"), condition(candidate, **how))
            .order_by(candidate.id)
            .with_for_update(skip_locked=True, key_share=True)
        )

    def _update(self, *conditions: Any, changes: transitions.Changes) -> Update:
        return update(self._jobs).where(*conditions).values(**changes)

    def _fenced_update(
        self,
        held: FromClause,
        changes: Callable[[Any], transitions.Changes],
        *conditions: ColumnElement[bool],
        skip_locked: bool = False,
    ) -> Update:
        """Write as the holder: only rows that still run under the fence of their claim.

        ``changes`` is given the columns of ``held``, of which (id, fence) is a claim.
        """
        fits = self._still_held(held), *conditions
        locked = self._locked_in_order(self._jobs, held, *fits, skip_locked=skip_locked)
        return self._update(self._still_held(locked), *conditions, changes=changes(locked.c))

    def _still_held(self, held: FromClause) -> ColumnElement[bool]:
        job = self._jobs.c
        return and_(
            job.id == held.c.id,
            status_is(job.status, JobStatus.RUNNING),
            job.fence == held.c.fence,
        )
