"""Statements that fire: they take fire times, make their jobs, and leave a trace."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Select,
    Text,
    and_,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.schedules.plan import Fire, FireTime
from server_jobs.schedules.schedule import Decision, Overlap
from server_jobs.schedules.statements.shared import ScheduleStatements, literal_word
from server_jobs.sql.column_types import UtcDateTime
from server_jobs.sql.constructs import insert_or_ignore, notifying, same_second, within
from server_jobs.sql.rowset import rows
from server_jobs.sql.statement import Statement
from server_jobs.store import transitions


class FireStatements(ScheduleStatements):
    """Takes fire times and makes their jobs: the steps of one batch."""

    def replace(self, fires: Sequence[Fire]) -> Statement:
        """Cancel the live jobs of schedules with ``overlap=replace`` → job id, schedule id."""
        return Statement(self._replace, {"fires": list(fires)})

    @cached_property
    def _replace(self) -> Executable:
        fires, job, schedule = self._fires, self._jobs.c, self._tables.cron_jobs.c
        live = self._jobs.alias("live")
        replaced = exists().where(
            schedule.id == fires.c.schedule_id,
            schedule.enabled == true(),
            same_second(schedule.next_run_at, fires.c.seen),
            schedule.overlap == literal_word(Overlap.REPLACE),
        )
        candidates = (
            select(live.c.id)
            .where(
                self._wants_job(fires),
                live.c.cron_job_id == fires.c.schedule_id,
                self._is_live(live.c),
                live.c.cancel_requested_at.is_(None),
                replaced,
            )
            .order_by(live.c.id)
            .with_for_update(of=live, key_share=True)
        )
        return (
            update(self._jobs)
            .where(within(job.id, candidates))
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

        A fire time that has a job already gets no second one. Several statements of one batch are
        given their fire times in the order of schedule ids and moments, as each inserts its own.
        """
        return Statement(self._insert_taken, {"fire_times": list(fire_times)})

    @cached_property
    def _insert_taken(self) -> Executable:
        fire_times, schedule = self._fire_times, self._tables.cron_jobs.c
        overlaps = and_(
            schedule.overlap == literal_word(Overlap.SKIP),
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
        if self._postgres:
            # In one order everywhere: each row waits for whoever inserts that fire time just now.
            source = source.order_by(schedule.id, fire_times.c.fire_at)
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
            (fires.c.job_id.is_(None), literal_word(Decision.MISSED)),
            (fired, literal_word(Decision.FIRED)),
            (made_before, literal_word(Decision.DEDUPLICATED)),
            else_=literal_word(Decision.SKIPPED),
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
            .values(
                last_decision=literal_word(Decision.WAITING), last_note=None, updated_at=self._now
            )
            .returning(schedule.id)
        )

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
