"""Holds every SQL statement on schedules, as SQLAlchemy Core.

A tick decides on all due schedules in one atomic batch. A compare-and-set moves ``next_run_at`` on
and writes a token, an INSERT makes the jobs of the schedules that carry this token, and an UPDATE
records the decision. A second scheduler finds another ``next_run_at`` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Integer,
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
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.records.status import LIVE
from server_jobs.schedules.plan import Fire, FireTime, Reset
from server_jobs.schedules.schedule import Decision, Overlap, Schedule, ScheduleRecord
from server_jobs.sql.column_types import UtcDateTime
from server_jobs.sql.constructs import insert_or_ignore, notifying, same_second, within
from server_jobs.sql.rowset import one_of, rows
from server_jobs.sql.statement import Statement
from server_jobs.sql.statement_set import StatementSet
from server_jobs.sql.tables import status_is
from server_jobs.store import transitions

RECORD_COLUMNS = tuple(ScheduleRecord.__dataclass_fields__)
DEFINITION_COLUMNS = tuple(Schedule.__dataclass_fields__)
EDITED_COLUMNS = tuple(
    name for name in DEFINITION_COLUMNS if name not in {"name", "managed_by", "enabled"}
)

_ID = bindparam("id", type_=Text())
_NAME = bindparam("name", type_=Text())
_MANAGED_BY = bindparam("managed_by", type_=Text())
_LIMIT = bindparam("limit", type_=Integer())
_NOW = bindparam("now", type_=UtcDateTime())
_NEXT = bindparam("next_run_at", type_=UtcDateTime())
# The decision about an earlier fire time (waiting, broken) doesn't hold for a new one.
_ANEW = {"next_run_at": _NEXT, "last_decision": null(), "last_note": null()}


class ScheduleStatements(StatementSet):
    """Makes the statements that fire, define and read schedules."""

    # ── a tick ───────────────────────────────────────────────────────────────────────────────

    def due(self, now: datetime, limit: int) -> Statement:
        """Select the schedules to decide on, the most overdue first → all their columns.

        Schedules without a ``next_run_at`` are included. Schedules that wait for one of their jobs
        to end are left out.
        """
        return Statement(self._due, {"now": now, "limit": limit})

    @cached_property
    def _due(self) -> Executable:
        schedule = self._tables.cron_jobs.c

        def some(condition: ColumnElement[bool]) -> Select[Any]:
            found = (
                select(*self._record)
                .where(schedule.enabled == true(), condition)
                .order_by(schedule.next_run_at)
                .limit(_LIMIT)
                .subquery()
            )
            return select(found)

        waits = and_(
            func.coalesce(schedule.last_decision, literal_column("''")) == _word(Decision.WAITING),
            self._waits_for_others(schedule),
            self._has_live_job(schedule.id),
        )
        # Two SELECTs, since NULLs lie at the other end of the index.
        return union_all(
            some(and_(schedule.next_run_at <= _NOW, ~waits)),
            some(schedule.next_run_at.is_(None)),
        )

    def ahead(self, moment: datetime) -> Statement:
        """Select enabled schedules that were changed after ``moment`` → all their columns."""
        return Statement(self._ahead, {"now": moment})

    @cached_property
    def _ahead(self) -> Executable:
        schedule = self._tables.cron_jobs.c
        return select(*self._record).where(schedule.enabled == true(), schedule.updated_at > _NOW)

    def replace(self, fires: Sequence[Fire]) -> Statement:
        """Cancel the live jobs of schedules with ``overlap=replace`` → job id, schedule id."""
        return Statement(self._replace, {"fires": list(fires)})

    @cached_property
    def _replace(self) -> Executable:
        fires, job, schedule = self._fires, self._jobs.c, self._tables.cron_jobs.c
        replaced = exists().where(
            schedule.id == fires.c.schedule_id,
            schedule.enabled == true(),
            same_second(schedule.next_run_at, fires.c.seen),
            schedule.overlap == _word(Overlap.REPLACE),
        )
        return (
            update(self._jobs)
            .where(
                self._wants_job(fires),
                job.cron_job_id == fires.c.schedule_id,
                self._is_live(job),
                job.cancel_requested_at.is_(None),
                replaced,
            )
            .values(**transitions.cancel(job, self._now))
            .returning(job.id, job.cron_job_id)
        )

    def advance(self, fires: Sequence[Fire]) -> Statement:
        """Take these fire times by compare-and-set → ids of the schedules that were taken.

        Schedules that another scheduler has moved on, or has locked at this moment, are left to it.
        """
        return Statement(self._advance, {"fires": list(fires)})

    @cached_property
    def _advance(self) -> Executable:
        fires, schedule, candidate = self._fires, self._tables.cron_jobs.c, self._candidate.c
        candidates = self._still_due(
            fires,
            or_(
                ~self._waits_for_others(candidate),
                ~self._has_live_job(candidate.id),
                ~self._wants_job(fires),
            ),
        )
        return (
            update(self._tables.cron_jobs)
            .where(schedule.id == fires.c.schedule_id, within(schedule.id, candidates))
            .values(
                next_run_at=fires.c.next_run_at,
                last_run_at=func.coalesce(fires.c.fire_at, schedule.last_run_at),
                fire_token=fires.c.token,
                updated_at=self._now,
            )
            .returning(schedule.id)
        )

    def insert(self, fire_times: Sequence[FireTime]) -> Statement:
        """Insert the jobs of the fire times that were taken → ids of the jobs that were made.

        A fire time that has a job already gets no second one.
        """
        return Statement(self._insert_taken, {"fire_times": list(fire_times)})

    @cached_property
    def _insert_taken(self) -> Executable:
        fire_times, schedule = self._fire_times, self._tables.cron_jobs.c
        overlaps = and_(
            schedule.overlap == _word(Overlap.SKIP),
            self._has_live_job(schedule.id),
        )
        return self._insert(schedule.fire_token == fire_times.c.token, ~overlaps)

    def insert_asked_for(self, fire_times: Sequence[FireTime]) -> Statement:
        """Insert jobs that a person asked for → ids of the jobs that were made.

        It checks neither tokens nor overlap. A fire time that has a job already gets no second one.
        """
        return Statement(self._insert_any, {"fire_times": list(fire_times)})

    @cached_property
    def _insert_any(self) -> Executable:
        return self._insert(literal_column("1") == literal_column("1"))

    def _insert(self, *conditions: ColumnElement[bool]) -> Executable:
        fire_times, schedule, job = self._fire_times, self._tables.cron_jobs.c, self._jobs.c
        copied = (
            "job_name",
            "params",
            "queue",
            "priority",
            "max_attempts",
            "timeout_seconds",
            "retry_policy",
            "runtime",
        )
        source = select(
            fire_times.c.job_id,
            fire_times.c.schedule_id,
            fire_times.c.fire_at,
            fire_times.c.scheduled_for,
            fire_times.c.scheduled_for <= self._now,
            self._now,
            self._now,
            *(schedule[name] for name in copied),
        ).where(schedule.id == fire_times.c.schedule_id, *conditions)
        insert = insert_or_ignore(
            self._jobs,
            [
                "id",
                "cron_job_id",
                "cron_fire_at",
                "scheduled_for",
                "ready",
                "created_at",
                "updated_at",
                *copied,
            ],
            source,
            postgres=self._postgres,
        )
        if not self._postgres:
            return insert.returning(job.id)
        return notifying(insert.returning(job.id, job.queue, job.ready), self._tables.channel)

    def trace(self, fires: Sequence[Fire]) -> Statement:
        """Record the decisions about the fire times that were taken → schedule id, decision."""
        return Statement(self._trace, {"fires": list(fires)})

    @cached_property
    def _trace(self) -> Executable:
        fires, schedule, job = self._fires, self._tables.cron_jobs.c, self._jobs.c
        fired = exists().where(job.id == fires.c.job_id)
        made_before = exists().where(
            job.cron_job_id == fires.c.schedule_id, job.cron_fire_at == fires.c.fire_at
        )
        decision = case(
            (fires.c.job_id.is_(None), _word(Decision.MISSED)),
            (fired, _word(Decision.FIRED)),
            (made_before, _word(Decision.DEDUPLICATED)),
            else_=_word(Decision.SKIPPED),
        )
        return (
            update(self._tables.cron_jobs)
            .where(schedule.id == fires.c.schedule_id, schedule.fire_token == fires.c.token)
            .values(
                last_job_id=case((fired, fires.c.job_id), else_=schedule.last_job_id),
                last_decision=decision,
                last_note=fires.c.note,
            )
            .returning(schedule.id, schedule.last_decision)
        )

    def wait(self, fires: Sequence[Fire]) -> Statement:
        """Mark the schedules that stay due because an earlier job hasn't ended → their ids."""
        return Statement(self._wait, {"fires": list(fires)})

    @cached_property
    def _wait(self) -> Executable:
        fires, schedule, candidate = self._fires, self._tables.cron_jobs.c, self._candidate.c
        candidates = self._still_due(
            fires,
            self._waits_for_others(candidate),
            self._has_live_job(candidate.id),
            self._wants_job(fires),
        )
        return (
            update(self._tables.cron_jobs)
            .where(schedule.id == fires.c.schedule_id, within(schedule.id, candidates))
            .values(last_decision=_word(Decision.WAITING), last_note=None, updated_at=self._now)
            .returning(schedule.id)
        )

    def reset(self, resets: Sequence[Reset]) -> Statement:
        """Set next fire times without firing → ids of the schedules that were still as seen."""
        return Statement(self._reset, {"resets": list(resets)})

    @cached_property
    def _reset(self) -> Executable:
        resets = rows(
            "resets",
            schedule_id=Text(),
            seen=UtcDateTime(),
            next_run_at=UtcDateTime(),
            decision=Text(),
            note=Text(),
        )
        schedule = self._tables.cron_jobs.c
        return (
            update(self._tables.cron_jobs)
            .where(
                schedule.id == resets.c.schedule_id,
                schedule.enabled == true(),
                or_(
                    same_second(schedule.next_run_at, resets.c.seen),
                    and_(schedule.next_run_at.is_(None), resets.c.seen.is_(None)),
                ),
            )
            .values(
                next_run_at=resets.c.next_run_at,
                last_decision=resets.c.decision,
                last_note=resets.c.note,
                updated_at=self._now,
            )
            .returning(schedule.id)
        )

    # ── definitions ──────────────────────────────────────────────────────────────────────────

    def add(self, schedule: Schedule, *, schedule_id: str, next_run_at: datetime) -> Statement:
        """Insert a schedule → its id; no row if the name is taken."""
        values = {name: getattr(schedule, name) for name in DEFINITION_COLUMNS}
        return Statement(self._add, {**values, "id": schedule_id, "next_run_at": next_run_at})

    @cached_property
    def _add(self) -> Executable:
        given = (*DEFINITION_COLUMNS, "id", "next_run_at")
        columns = {
            name: bindparam(name, type_=self._tables.cron_jobs.c[name].type) for name in given
        }
        source = select(
            *columns.values(), self._now.label("created_at"), self._now.label("updated_at")
        ).where(literal_column("1") == literal_column("1"))
        return insert_or_ignore(
            self._tables.cron_jobs,
            [*columns, "created_at", "updated_at"],
            source,
            postgres=self._postgres,
        ).returning(self._tables.cron_jobs.c.id)

    def edit(
        self, schedule: Schedule, *, schedule_id: str, next_run_at: datetime | None
    ) -> Statement:
        """Update a schedule's definition, but not ``enabled`` → its id; no row if ``managed_by``
        has changed.

        With ``next_run_at=None`` the next fire time stays as it is.
        """
        values = {name: getattr(schedule, name) for name in (*EDITED_COLUMNS, "managed_by")}
        values["id"] = schedule_id
        if next_run_at is None:
            return Statement(self._edit, values)
        return Statement(self._retime, {**values, "next_run_at": next_run_at})

    @cached_property
    def _edit(self) -> Executable:
        return self._change()

    @cached_property
    def _retime(self) -> Executable:
        return self._change(**_ANEW)

    def _change(self, **more: Any) -> Executable:
        schedule = self._tables.cron_jobs.c
        changes = {name: bindparam(name, type_=schedule[name].type) for name in EDITED_COLUMNS}
        return (
            update(self._tables.cron_jobs)
            .where(schedule.id == _ID, schedule.managed_by == _MANAGED_BY)
            .values(**changes, updated_at=self._now, **more)
            .returning(schedule.id)
        )

    def switch(self, schedule_id: str, *, next_run_at: datetime | None) -> Statement:
        """Enable a schedule from this fire time on, or disable it if None is given → its id."""
        shape = self._disable if next_run_at is None else self._enable
        return Statement(shape, {"id": schedule_id, "next_run_at": next_run_at})

    @cached_property
    def _enable(self) -> Executable:
        return self._switch(true(), schedule_is=false(), **_ANEW)

    @cached_property
    def _disable(self) -> Executable:
        return self._switch(false(), schedule_is=true())

    def _switch(
        self, enabled: ColumnElement[bool], *, schedule_is: ColumnElement[bool], **more: Any
    ) -> Executable:
        schedule = self._tables.cron_jobs.c
        return (
            update(self._tables.cron_jobs)
            .where(schedule.id == _ID, schedule.enabled == schedule_is)
            .values(enabled=enabled, updated_at=self._now, **more)
            .returning(schedule.id)
        )

    def prune(self, managed_by: str, keep: Sequence[str]) -> Statement:
        """Disable the source's schedules whose names aren't in ``keep`` → their names."""
        return Statement(self._prune, {"managed_by": managed_by, "keep": list(keep)})

    @cached_property
    def _prune(self) -> Executable:
        schedule = self._tables.cron_jobs.c
        kept = select(schedule.id).where(one_of(schedule.name, "keep"))
        return (
            update(self._tables.cron_jobs)
            .where(
                schedule.managed_by == _MANAGED_BY,
                schedule.enabled == true(),
                schedule.id.not_in(kept),
            )
            .values(enabled=false(), updated_at=self._now)
            .returning(schedule.name)
        )

    def remove(self, schedule_id: str) -> Statement:
        """Delete a schedule; its jobs stay → its id."""
        return Statement(self._remove, {"id": schedule_id})

    @cached_property
    def _remove(self) -> Executable:
        schedule = self._tables.cron_jobs.c
        return delete(self._tables.cron_jobs).where(schedule.id == _ID).returning(schedule.id)

    # ── read ─────────────────────────────────────────────────────────────────────────────────

    def by_name(self, name: str) -> Statement:
        """Select one schedule → all its columns."""
        return Statement(self._by_name, {"name": name})

    @cached_property
    def _by_name(self) -> Executable:
        return select(*self._record).where(self._tables.cron_jobs.c.name == _NAME)

    def list_all(self) -> Statement:
        """Select all schedules, ordered by name → all their columns."""
        return Statement(self._list)

    @cached_property
    def _list(self) -> Executable:
        return select(*self._record).order_by(self._tables.cron_jobs.c.name)

    def live_jobs(self, schedule_id: str) -> Statement:
        """Select the jobs of a schedule that haven't ended, oldest first → id, status."""
        return Statement(self._live_jobs, {"id": schedule_id})

    @cached_property
    def _live_jobs(self) -> Executable:
        job = self._jobs.c
        return (
            select(job.id, job.status)
            .where(job.cron_job_id == _ID, self._is_live(job))
            .order_by(job.id)
        )

    # ── shared ───────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _record(self) -> list[ColumnElement[Any]]:
        return [self._tables.cron_jobs.c[name] for name in RECORD_COLUMNS]

    @cached_property
    def _fires(self) -> Any:
        return rows(
            "fires",
            schedule_id=Text(),
            cron_expression=Text(),
            time_zone=Text(),
            seen=UtcDateTime(),
            next_run_at=UtcDateTime(),
            token=Text(),
            fire_at=UtcDateTime(),
            job_id=Text(),
            note=Text(),
        )

    @cached_property
    def _fire_times(self) -> Any:
        return rows(
            "fire_times",
            job_id=Text(),
            schedule_id=Text(),
            token=Text(),
            fire_at=UtcDateTime(),
            scheduled_for=UtcDateTime(),
        )

    @cached_property
    def _candidate(self) -> Any:
        return self._tables.cron_jobs.alias("candidate")

    def _still_due(self, fires: Any, *conditions: ColumnElement[bool]) -> Select[Any]:
        """Select the schedules of these fires that are unchanged since they were read.

        Locked rows are skipped: a scheduler never waits for one lock while it holds others, so
        that two schedulers can't deadlock.
        """
        candidate = self._candidate
        return (
            select(candidate.c.id)
            .where(
                candidate.c.id == fires.c.schedule_id,
                candidate.c.enabled == true(),
                same_second(candidate.c.next_run_at, fires.c.seen),
                # A schedule that was edited meanwhile may be due at the same moment. The next fire
                # time was computed from the old expression, and would be wrong.
                candidate.c.cron_expression == fires.c.cron_expression,
                candidate.c.time_zone == fires.c.time_zone,
                *conditions,
            )
            .with_for_update(of=candidate, skip_locked=True)
        )

    def _waits_for_others(self, schedule: Any) -> ColumnElement[bool]:
        words = [_word(word) for word in (Overlap.QUEUE, Overlap.REPLACE)]
        condition: ColumnElement[bool] = schedule.overlap.in_(words)
        return condition

    def _has_live_job(self, schedule_id: ColumnElement[str]) -> ColumnElement[bool]:
        earlier = self._jobs.alias("earlier")
        # Not EXISTS: for many schedules PostgreSQL would hash it, and read all jobs of the table.
        found = (
            select(earlier.c.id)
            .where(earlier.c.cron_job_id == schedule_id, self._is_live(earlier.c))
            .limit(literal_column("1"))
            .correlate_except(earlier)
            .scalar_subquery()
        )
        return found.is_not(None)

    def _wants_job(self, fires: Any) -> ColumnElement[bool]:
        """Build the condition that a fire time gets a job: it wasn't missed and has none yet."""
        made = self._jobs.alias("made")
        has_one = (
            exists()
            .where(
                made.c.cron_job_id == fires.c.schedule_id, made.c.cron_fire_at == fires.c.fire_at
            )
            .correlate_except(made)
        )
        return and_(fires.c.job_id.is_not(None), ~has_one)

    def _is_live(self, job: Any) -> ColumnElement[bool]:
        return status_is(job.status, *sorted(LIVE))


def _word(word: Decision | Overlap) -> ColumnElement[str]:
    """Put the word into the statement's text, as a literal: it never changes between runs."""
    return literal_column(f"'{word}'", type_=Text())
