"""Statements that read schedules and change nothing."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Select, and_, func, literal_column, select, true, union_all
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.schedules.schedule import Decision
from server_jobs.schedules.statements.shared import (
    ID,
    LIMIT,
    NAME,
    NOW,
    RECORD_COLUMNS,
    ScheduleStatements,
    literal_word,
)
from server_jobs.sql.statement import Statement


class ReadStatements(ScheduleStatements):
    """Reads schedules, those that are due included, and changes nothing."""

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
                .limit(LIMIT)
                .subquery()
            )
            return select(found)

        waits = and_(
            func.coalesce(schedule.last_decision, literal_column("''"))
            == literal_word(Decision.WAITING),
            self._waits_for_others(schedule),
            self._has_live_job(schedule.id),
        )
        # Two SELECTs, since NULLs lie at the other end of the index.
        return union_all(
            some(and_(schedule.next_run_at <= NOW, ~waits)),
            some(schedule.next_run_at.is_(None)),
        )

    def ahead(self, moment: datetime) -> Statement:
        """Select enabled schedules that were changed after ``moment`` → all their columns."""
        return Statement(self._ahead, {"now": moment})

    @cached_property
    def _ahead(self) -> Executable:
        schedule = self._tables.cron_jobs.c
        return select(*self._record).where(schedule.enabled == true(), schedule.updated_at > NOW)

    def by_name(self, name: str) -> Statement:
        """Select one schedule → all its columns."""
        return Statement(self._by_name, {"name": name})

    @cached_property
    def _by_name(self) -> Executable:
        return select(*self._record).where(self._tables.cron_jobs.c.name == NAME)

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
            .where(job.cron_job_id == ID, self._is_live(job))
            .order_by(job.id)
        )

    @cached_property
    def _record(self) -> list[ColumnElement[Any]]:
        return [self._tables.cron_jobs.c[name] for name in RECORD_COLUMNS]
