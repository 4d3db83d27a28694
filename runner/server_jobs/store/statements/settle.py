"""Statements that settle a claim: the last write of its holder, or of a rescue."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import compress, product
from typing import Any

from sqlalchemy import (
    BigInteger,
    Float,
    Integer,
    Text,
    and_,
    bindparam,
    literal_column,
    select,
)
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.records.status import JobStatus
from server_jobs.sql.column_types import JsonText
from server_jobs.sql.rowset import rows
from server_jobs.sql.statement import Statement
from server_jobs.sql.tables import status_is
from server_jobs.store import transitions
from server_jobs.store.statements.shared import ID, LIMIT, WORKER_ID, JobStatements, Rows

EXPIRED_COLUMNS = (
    "id",
    "fence",
    "attempt_count",
    "retry_policy",
    "worker_id",
    "handler_started_at",
)
"""What a rescue needs to know of a row."""


class SettleStatements(JobStatements):
    """Settles claims. Each method takes rows, and each returns id, status, scheduled_for.

    A row is (id, fence, …) as its method says. Only rows that still run under the fence of the
    claim are written and returned.
    """

    def complete(self, settled: Rows) -> Statement:
        """Complete rows of (id, fence, result, last progress message)."""
        return Statement(self._complete, {"settled": settled})

    @cached_property
    def _complete(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.complete(
                job, self._now, result=row.result, message=row.message
            ),
            result=JsonText(),
            message=Text(),
        )

    def fail(self, settled: Rows) -> Statement:
        """Fail rows of (id, fence, error, record, permanent, delay in seconds)."""
        return Statement(self._fail, {"settled": settled})

    @cached_property
    def _fail(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.fail(
                job,
                self._now,
                error=row.error,
                record=row.record,
                permanent=row.permanent == literal_column("1"),
                delay=row.delay,
            ),
            error=Text(),
            record=JsonText(),
            permanent=Integer(),
            delay=Float(),
        )

    def release(self, settled: Rows) -> Statement:
        """Release rows of (id, fence, reason, max_releases)."""
        return Statement(self._release, {"settled": settled})

    @cached_property
    def _release(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.release(
                job, self._now, reason=row.reason, max_releases=row.max_releases
            ),
            reason=Text(),
            max_releases=Integer(),
        )

    def postpone(self, settled: Rows) -> Statement:
        """Postpone rows of (id, fence, reason, delay in seconds)."""
        return Statement(self._postpone, {"settled": settled})

    @cached_property
    def _postpone(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.postpone(
                job, self._now, delay=row.delay, reason=row.reason
            ),
            reason=Text(),
            delay=Float(),
        )

    def abandon(self, settled: Rows) -> Statement:
        """Abandon rows of (id, fence, reason)."""
        return Statement(self._abandon, {"settled": settled})

    @cached_property
    def _abandon(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.abandon(job, self._now, reason=row.reason),
            reason=Text(),
        )

    def withdraw(self, settled: Rows) -> Statement:
        """Withdraw rows of (id, fence, reason, delay in seconds).

        Only jobs whose handler hasn't begun are written.
        """
        return Statement(self._withdraw, {"settled": settled})

    @cached_property
    def _withdraw(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.withdraw(
                job, self._now, delay=row.delay, reason=row.reason
            ),
            self._jobs.c.handler_started_at.is_(None),
            reason=Text(),
            delay=Float(),
        )

    def lose_launch(self, settled: Rows) -> Statement:
        """Lose launches: (id, fence, reason, record, delay in seconds, max_failures).

        Only jobs whose handler hasn't begun are written.
        """
        return Statement(self._lose_launch, {"settled": settled})

    @cached_property
    def _lose_launch(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.lose_launch(
                job,
                self._now,
                reason=row.reason,
                record=row.record,
                delay=row.delay,
                max_failures=row.max_failures,
            ),
            self._jobs.c.handler_started_at.is_(None),
            reason=Text(),
            record=JsonText(),
            delay=Float(),
            max_failures=Integer(),
        )

    def disrupt(self, settled: Rows) -> Statement:
        """Disrupt rows of (id, fence, reason, record, delay in seconds, max_disruptions).

        Only jobs whose handler has begun are written.
        """
        return Statement(self._disrupt, {"settled": settled})

    @cached_property
    def _disrupt(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.disrupt(
                job,
                self._now,
                reason=row.reason,
                record=row.record,
                delay=row.delay,
                max_disruptions=row.max_disruptions,
            ),
            self._jobs.c.handler_started_at.is_not(None),
            reason=Text(),
            record=JsonText(),
            delay=Float(),
            max_disruptions=Integer(),
        )

    def settled(self, held: Rows) -> Statement:
        """Read which rows of (id, fence) no longer run under that fence → id, status.

        After a commit whose answer was lost, this tells whether it happened.
        """
        return Statement(self._settled, {"held": held})

    @cached_property
    def _settled(self) -> Executable:
        held = rows("held", id=Text(), fence=BigInteger())
        job = self._jobs.c
        running = status_is(job.status, JobStatus.RUNNING)
        return select(job.id, job.status).where(
            job.id == held.c.id, job.fence == held.c.fence, ~running
        )

    def expired(self, limit: int) -> Statement:
        """Find running jobs whose lease has expired, the longest first → what a rescue needs."""
        return Statement(self._expired, {"limit": limit})

    @cached_property
    def _expired(self) -> Executable:
        job = self._jobs.c
        return (
            select(*(job[name] for name in EXPIRED_COLUMNS))
            .where(self._is_expired)
            .order_by(job.worker_expires_at)
            .limit(LIMIT)
        )

    def set_aside(
        self,
        job_id: str,
        *,
        worker_id: str | None,
        fence: int | None,
        expired: bool,
        error: str,
        record: str,
        keep_errors: bool,
    ) -> Statement:
        """Fail a row that can't be worked with → id.

        It is written while it runs under this worker id and this fence, with an expired lease
        where ``expired`` says so; without any of them, while it is pending.
        """
        held = (worker_id is not None, fence is not None, expired)
        values = {
            "id": job_id,
            "worker_id": worker_id,
            "fence": fence,
            "error": error,
            "record": record,
        }
        return Statement(self._set_aside[held, keep_errors], values)

    @cached_property
    def _set_aside(self) -> dict[tuple[tuple[bool, ...], bool], Executable]:
        job = self._jobs.c
        by_holder = (
            job.worker_id == WORKER_ID,
            job.fence == bindparam("fence", type_=BigInteger()),
            self._is_expired,
        )
        return {
            (held, keep_errors): self._update(
                job.id == ID,
                status_is(job.status, JobStatus.RUNNING if any(held) else JobStatus.PENDING),
                *compress(by_holder, held),
                changes=transitions.set_aside(
                    job,
                    self._now,
                    error=bindparam("error", type_=Text()),
                    record=bindparam("record", type_=JsonText()),
                    keep_errors=keep_errors,
                ),
            ).returning(job.id)
            for held in product((False, True), repeat=len(by_holder))
            for keep_errors in (True, False)
        }

    @cached_property
    def _is_expired(self) -> ColumnElement[bool]:
        job = self._jobs.c
        return and_(status_is(job.status, JobStatus.RUNNING), job.worker_expires_at <= self._now)

    def rescue(self, settled: Rows) -> Statement:
        """Rescue rows of (id, fence, reason, record, delay in seconds).

        Leases that were renewed meanwhile are left alone, and so are rows that somebody else has
        locked: one of them mustn't hold up the rescue of the others.
        """
        return Statement(self._rescue, {"settled": settled})

    @cached_property
    def _rescue(self) -> Executable:
        return self._settle(
            lambda row, job: transitions.rescue(
                job, self._now, reason=row.reason, record=row.record, delay=row.delay
            ),
            self._is_expired,
            skip_locked=True,
            reason=Text(),
            record=JsonText(),
            delay=Float(),
        )

    def _settle(
        self,
        transition: Callable[[Any, transitions.Job], transitions.Changes],
        *conditions: ColumnElement[bool],
        skip_locked: bool = False,
        **columns: Any,
    ) -> Executable:
        settled = rows("settled", id=Text(), fence=BigInteger(), **columns)
        job = self._jobs.c
        return self._fenced_update(
            settled, lambda row: transition(row, job), *conditions, skip_locked=skip_locked
        ).returning(job.id, job.status, job.scheduled_for)
