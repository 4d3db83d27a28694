"""Statements that define schedules: add, edit, switch, prune, remove, reset."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Text,
    and_,
    bindparam,
    delete,
    false,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import FromClause

from server_jobs.schedules.plan import Reset
from server_jobs.schedules.schedule import Schedule
from server_jobs.schedules.statements.shared import (
    ANEW,
    DEFINITION_COLUMNS,
    EDITED_COLUMNS,
    ID,
    MANAGED_BY,
    ScheduleStatements,
)
from server_jobs.sql.column_types import UtcDateTime
from server_jobs.sql.constructs import insert_or_ignore, same_second, within
from server_jobs.sql.rowset import one_of, rows
from server_jobs.sql.statement import Statement


class DefineStatements(ScheduleStatements):
    """Adds, changes, switches and removes schedules, and sets their next fire times."""

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
        return self._change(**ANEW)

    def _change(self, **more: Any) -> Executable:
        schedule = self._tables.cron_jobs.c
        changes = {name: bindparam(name, type_=schedule[name].type) for name in EDITED_COLUMNS}
        return (
            update(self._tables.cron_jobs)
            .where(schedule.id == ID, schedule.managed_by == MANAGED_BY)
            .values(**changes, updated_at=self._now, **more)
            .returning(schedule.id)
        )

    def switch(self, schedule_id: str, *, next_run_at: datetime | None) -> Statement:
        """Enable a schedule from this fire time on, or disable it if None is given → its id."""
        shape = self._disable if next_run_at is None else self._enable
        return Statement(shape, {"id": schedule_id, "next_run_at": next_run_at})

    @cached_property
    def _enable(self) -> Executable:
        return self._switch(true(), schedule_is=false(), **ANEW)

    @cached_property
    def _disable(self) -> Executable:
        return self._switch(false(), schedule_is=true())

    def _switch(
        self, enabled: ColumnElement[bool], *, schedule_is: ColumnElement[bool], **more: Any
    ) -> Executable:
        schedule = self._tables.cron_jobs.c
        return (
            update(self._tables.cron_jobs)
            .where(schedule.id == ID, schedule.enabled == schedule_is)
            .values(enabled=enabled, updated_at=self._now, **more)
            .returning(schedule.id)
        )

    def prune(self, managed_by: str, keep: Sequence[str]) -> Statement:
        """Disable the source's schedules whose names aren't in ``keep`` → their names."""
        return Statement(self._prune, {"managed_by": managed_by, "keep": list(keep)})

    @cached_property
    def _prune(self) -> Executable:
        schedule, candidate = self._tables.cron_jobs.c, self._candidate.c
        kept = select(schedule.id).where(one_of(schedule.name, "keep"))
        candidates = (
            select(candidate.id)
            .where(
                candidate.managed_by == MANAGED_BY,
                candidate.enabled == true(),
                candidate.id.not_in(kept.correlate(None)),
            )
            .order_by(candidate.id)
            .with_for_update(key_share=True)
        )
        return (
            update(self._tables.cron_jobs)
            .where(within(schedule.id, candidates))
            .values(enabled=false(), updated_at=self._now)
            .returning(schedule.name)
        )

    def remove(self, schedule_id: str) -> Statement:
        """Delete a schedule; its jobs stay → its id."""
        return Statement(self._remove, {"id": schedule_id})

    @cached_property
    def _remove(self) -> Executable:
        schedule = self._tables.cron_jobs.c
        return delete(self._tables.cron_jobs).where(schedule.id == ID).returning(schedule.id)

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

        def is_as_seen(reset: FromClause) -> ColumnElement[bool]:
            return and_(
                schedule.id == reset.c.schedule_id,
                schedule.enabled == true(),
                or_(
                    same_second(schedule.next_run_at, reset.c.seen),
                    and_(schedule.next_run_at.is_(None), reset.c.seen.is_(None)),
                ),
            )

        locked = self._locked_in_order(self._tables.cron_jobs, resets, is_as_seen(resets))
        return (
            update(self._tables.cron_jobs)
            .where(is_as_seen(locked))
            .values(
                next_run_at=locked.c.next_run_at,
                last_decision=locked.c.decision,
                last_note=locked.c.note,
                updated_at=self._now,
            )
            .returning(schedule.id)
        )
