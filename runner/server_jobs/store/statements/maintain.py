"""Statements that maintain the table, and those with which people change jobs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Boolean,
    FromClause,
    Select,
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
from server_jobs.sql.fit import BLOB_ID
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

    def stage(self, limit: int, queue: str | None = None) -> Statement:
        """Make jobs that have become due visible to claims, of one queue or of all → ids."""
        values = {"limit": limit, "queue": queue}
        return Statement(self._stage[queue is not None], values, unless_empty=self._any_stageable)

    @cached_property
    def _stage(self) -> dict[bool, Executable]:
        candidate = self._jobs.alias("candidate")
        return {
            of_queue: self._update(
                within(
                    self._jobs.c.id,
                    self._stageable(candidate, of_queue).with_for_update(
                        skip_locked=True, key_share=True
                    ),
                ),
                changes=transitions.stage(self._now),
            ).returning(self._jobs.c.id)
            for of_queue in (False, True)
        }

    def stageable(self, limit: int, queue: str | None = None) -> Statement:
        """Read what staging would change → ids."""
        shape = self._stageable_ids[queue is not None]
        return Statement(shape, {"limit": limit, "queue": queue})

    @cached_property
    def _stageable_ids(self) -> dict[bool, Executable]:
        return {of_queue: self._stageable(self._jobs, of_queue) for of_queue in (False, True)}

    def stage_these(self, job_ids: Sequence[str]) -> Statement:
        """Make these jobs visible to claims, if they have become due → ids."""
        return Statement(self._stage_these, {"job_ids": list(job_ids)})

    @cached_property
    def _stage_these(self) -> Executable:
        return self._update(
            within(self._jobs.c.id, self._these(self._is_stageable)),
            changes=transitions.stage(self._now),
        ).returning(self._jobs.c.id)

    def _stageable(self, jobs: FromClause, of_queue: bool) -> Select[Any]:
        job = jobs.c
        conditions = [job.queue == bindparam("queue", type_=Text())] if of_queue else []
        return (
            select(job.id)
            .where(self._is_stageable(job), *conditions)
            .order_by(job.scheduled_for)
            .limit(LIMIT)
        )

    @cached_property
    def _any_stageable(self) -> Executable:
        return select(literal_column("1")).where(self._is_stageable(self._jobs.c)).limit(1)

    def _is_stageable(self, job: transitions.Job) -> ColumnElement[bool]:
        return and_(
            status_is(job.status, JobStatus.PENDING),
            job.ready == false(),
            job.scheduled_for <= self._now,
        )

    def survey(self, prunable: Prunable, *, after: str | None, limit: int) -> Statement:
        """Read ``limit`` rows by id from above ``after`` → last id, rows, prunable ones by status.

        An ``after`` of None begins at the first row, whatever its id is.

        Following the primary key needs no further index, and one statement reads a bounded number
        of rows, whatever lies in the table.
        """
        shape = self._survey[bool(prunable.job_names), after is not None]
        return Statement(shape, {**_prunable(prunable), "after": after, "limit": limit})

    @cached_property
    def _survey(self) -> dict[tuple[bool, bool], Executable]:
        job = self._jobs.c

        def shape(named: bool, going_on: bool) -> Executable:
            stretch = (
                select(job.id, case((_is_prunable(job, named), job.status)).label("end"))
                .where(*_above(job, going_on))
                .order_by(job.id)
                .limit(LIMIT)
                .subquery("stretch")
            )
            row = stretch.c
            ends = (func.count(case((status_is(row.end, status), row.id))) for status in ENDS)
            return select(func.max(row.id), func.count(), *ends).select_from(stretch)

        return {
            (named, going_on): shape(named, going_on)
            for named in (False, True)
            for going_on in (False, True)
        }

    def prune(self, prunable: Prunable, *, after: str | None, to: str) -> Statement:
        """Delete jobs between two ids, the last one included → id, status.

        Rows that somebody else has locked, for instance to retry them, are skipped.
        """
        shape = self._prune[bool(prunable.job_names), after is not None]
        return Statement(shape, {**_prunable(prunable), "after": after, "to": to})

    @cached_property
    def _prune(self) -> dict[tuple[bool, bool], Executable]:
        job, candidate = self._jobs.c, self._jobs.alias("candidate")

        def shape(named: bool, going_on: bool) -> Executable:
            candidates = self._prunable_between(candidate, named, going_on)
            return (
                delete(self._jobs)
                .where(
                    within(job.id, candidates.with_for_update(skip_locked=True)),
                    _is_prunable(job, named),
                )
                .returning(job.id, job.status)
            )

        return {
            (named, going_on): shape(named, going_on)
            for named in (False, True)
            for going_on in (False, True)
        }

    def prunable(self, prunable: Prunable, *, after: str | None, to: str) -> Statement:
        """Read which jobs between two ids may be deleted → ids."""
        named, going_on = bool(prunable.job_names), after is not None
        shape = self._prunable_ids[named, going_on]
        return Statement(shape, {**_prunable(prunable), "after": after, "to": to})

    @cached_property
    def _prunable_ids(self) -> dict[tuple[bool, bool], Executable]:
        return {
            (named, going_on): self._prunable_between(self._jobs, named, going_on)
            for named in (False, True)
            for going_on in (False, True)
        }

    def prune_these(self, prunable: Prunable, job_ids: Sequence[str]) -> Statement:
        """Delete these of the jobs that may be deleted → id, status."""
        shape = self._prune_these[bool(prunable.job_names)]
        return Statement(shape, {**_prunable(prunable), "job_ids": list(job_ids)})

    @cached_property
    def _prune_these(self) -> dict[bool, Executable]:
        job = self._jobs.c
        return {
            named: delete(self._jobs)
            .where(within(job.id, self._these(_is_prunable, named=named)))
            .returning(job.id, job.status)
            for named in (False, True)
        }

    def _prunable_between(self, jobs: FromClause, named: bool, going_on: bool) -> Select[Any]:
        job = jobs.c
        return select(job.id).where(
            *_above(job, going_on),
            job.id <= bindparam("to", type_=Text()),
            _is_prunable(job, named),
        )

    def name_blobs(self) -> Statement:
        """Rename rows whose id is a BLOB, which SQLite keeps in any column → the new ids.

        Nobody could name such a row, neither a person nor a statement over many rows.
        """
        return Statement(self._name_blobs)

    @cached_property
    def _name_blobs(self) -> Executable:
        job = self._jobs.c
        return self._update(
            # BLOBs sort behind all texts, so that the primary key finds them at once.
            job.id >= literal_column("x''"),
            changes={"id": literal_column(f"'{BLOB_ID}' || hex(id)")},
        ).returning(job.id)

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


def _above(job: transitions.Job, going_on: bool) -> list[ColumnElement[bool]]:
    return [job.id > _AFTER] if going_on else []


def _prunable(prunable: Prunable) -> dict[str, Any]:
    moments = {f"{status}_before": prunable.before.get(status) for status in ENDS}
    whenever = {
        f"{status}_whenever": prunable.whenever and status in prunable.before for status in ENDS
    }
    return {**moments, **whenever, "job_names": list(prunable.job_names)}


def _is_prunable(job: transitions.Job, named: bool) -> ColumnElement[bool]:
    """Ended before the moment of its status, which matches no row if it's NULL, or whenever."""
    old_enough = or_(
        *(
            status_is(job.status, status)
            & or_(
                job.completed_at < bindparam(f"{status}_before", type_=UtcDateTime()),
                bindparam(f"{status}_whenever", type_=Boolean()),
            )
            for status in ENDS
        )
    )
    return and_(old_enough, one_of(job.job_name, "job_names")) if named else old_enough
