"""Statements that maintain the table, and those with which people change jobs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Text,
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.records.requests import Prunable
from server_jobs.records.status import FINISHED, LIVE, RETRYABLE, JobStatus
from server_jobs.sql.column_types import UtcDateTime
from server_jobs.sql.constructs import within
from server_jobs.sql.rowset import one_of, rows
from server_jobs.sql.statement import Statement
from server_jobs.sql.tables import status_is
from server_jobs.store import transitions
from server_jobs.store.statements.shared import LIMIT, JobStatements

_AFTER = bindparam("after", type_=Text())

ENDS = tuple(sorted(FINISHED))
"""The order of the counts that a survey returns."""


class MaintainStatements(JobStatements):
    """Stages and prunes; cancels and retries for people."""

    def stage(self, limit: int) -> Statement:
        """Make jobs that have become due visible to claims → ids."""
        return Statement(self._stage, {"limit": limit}, unless_empty=self._stageable)

    @cached_property
    def _stage(self) -> Executable:
        candidate = self._jobs.alias("candidate")
        candidates = (
            select(candidate.c.id)
            .where(self._is_stageable(candidate.c))
            .order_by(candidate.c.scheduled_for)
            .limit(LIMIT)
            .with_for_update(skip_locked=True, key_share=True)
        )
        return self._update(
            within(self._jobs.c.id, candidates), changes=transitions.stage(self._now)
        ).returning(self._jobs.c.id)

    @cached_property
    def _stageable(self) -> Executable:
        return select(literal_column("1")).where(self._is_stageable(self._jobs.c)).limit(1)

    def _is_stageable(self, job: transitions.Job) -> ColumnElement[bool]:
        return and_(
            status_is(job.status, JobStatus.PENDING),
            job.ready == false(),
            job.scheduled_for <= self._now,
        )

    def survey(self, prunable: Prunable, *, after: str, limit: int) -> Statement:
        """Read ``limit`` rows by id from ``after`` → last id, rows, prunable ones by status.

        Following the primary key needs no further index, and one statement reads a bounded number
        of rows, whatever lies in the table.
        """
        shape = self._survey[bool(prunable.job_names)]
        return Statement(shape, {**_prunable(prunable), "after": after, "limit": limit})

    @cached_property
    def _survey(self) -> dict[bool, Executable]:
        job = self._jobs.c

        def shape(named: bool) -> Executable:
            stretch = (
                select(job.id, case((_is_prunable(job, named), job.status)).label("end"))
                .where(job.id > _AFTER)
                .order_by(job.id)
                .limit(LIMIT)
                .subquery("stretch")
            )
            row = stretch.c
            ends = (func.count(case((status_is(row.end, status), row.id))) for status in ENDS)
            return select(func.max(row.id), func.count(), *ends).select_from(stretch)

        return {named: shape(named) for named in (False, True)}

    def prune(self, prunable: Prunable, *, after: str, to: str) -> Statement:
        """Delete jobs between two ids, the last one included → id, status.

        Rows that somebody else has locked, for instance to retry them, are skipped.
        """
        shape = self._prune[bool(prunable.job_names)]
        return Statement(shape, {**_prunable(prunable), "after": after, "to": to})

    @cached_property
    def _prune(self) -> dict[bool, Executable]:
        job, candidate = self._jobs.c, self._jobs.alias("candidate")

        def shape(named: bool) -> Executable:
            candidates = (
                select(candidate.c.id)
                .where(
                    candidate.c.id > _AFTER,
                    candidate.c.id <= bindparam("to", type_=Text()),
                    _is_prunable(candidate.c, named),
                )
                .with_for_update(skip_locked=True)
            )
            return (
                delete(self._jobs)
                .where(within(job.id, candidates), _is_prunable(job, named))
                .returning(job.id, job.status)
            )

        return {named: shape(named) for named in (False, True)}

    def cancel(self, job_ids: Sequence[str]) -> Statement:
        """Cancel pending jobs, ask the holders of running ones to → id, status of each."""
        return Statement(self._cancel, {"chosen": [(job_id,) for job_id in job_ids]})

    @cached_property
    def _cancel(self) -> Executable:
        chosen = rows("chosen", id=Text())
        job = self._jobs.c
        live = status_is(job.status, *sorted(LIVE))
        locked = self._locked_in_order(self._jobs, chosen, job.id == chosen.c.id, live)
        return self._update(
            job.id == locked.c.id, live, changes=transitions.cancel(job, self._now)
        ).returning(job.id, job.status)

    def retry(self, job_ids: Sequence[str]) -> Statement:
        """Run failed and cancelled jobs again, whose unique key is free → id, status of each.

        Of several with the same key, the newest is retried. It comes after ``keys_in_turn`` in one
        batch, for a single job too: that one is locked while its key is waited for.
        """
        return Statement(self._retry, {"chosen": [(job_id,) for job_id in job_ids]})

    @cached_property
    def _retry(self) -> Executable:
        chosen = rows("chosen", id=Text())
        job, other, holder = self._jobs.c, self._jobs.alias("other"), self._jobs.alias("holder")
        same_key = (other.c.job_name, other.c.unique_key)
        retryable = status_is(job.status, *sorted(RETRYABLE))
        locked = self._locked_in_order(self._jobs, chosen, job.id == chosen.c.id, retryable)
        turns = (
            select(
                other.c.id,
                func.row_number()
                .over(partition_by=same_key, order_by=other.c.id.desc())
                .label("turn"),
            )
            .where(other.c.id == locked.c.id, status_is(other.c.status, *sorted(RETRYABLE)))
            .subquery("turns")
        )
        key_is_taken = exists().where(
            holder.c.job_name == job.job_name,
            holder.c.unique_key == job.unique_key,
            status_is(holder.c.status, *sorted(LIVE)),
        )
        return self._update(
            job.id == turns.c.id,
            # Once more: by now somebody else may have retried it.
            retryable,
            or_(
                job.unique_key.is_(None),
                and_(turns.c.turn == literal_column("1"), ~key_is_taken),
            ),
            changes=transitions.retry(job, self._now),
        ).returning(job.id, job.status)


def _prunable(prunable: Prunable) -> dict[str, Any]:
    moments = {f"{status}_before": prunable.before.get(status) for status in ENDS}
    return {**moments, "job_names": list(prunable.job_names)}


def _is_prunable(job: transitions.Job, named: bool) -> ColumnElement[bool]:
    """Ended before the moment of its status; a moment of NULL matches no row."""
    old_enough = or_(
        *(
            status_is(job.status, status)
            & (job.completed_at < bindparam(f"{status}_before", type_=UtcDateTime()))
            for status in ENDS
        )
    )
    return and_(old_enough, one_of(job.job_name, "job_names")) if named else old_enough
