"""Reads and writes schedules. It alone runs their statements; it takes and returns plain data."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy.sql.elements import ColumnElement

from server_jobs.database import Database
from server_jobs.database.batch import Batch
from server_jobs.errors import InvalidScheduleError, ScheduleNotFoundError
from server_jobs.records.ids import new_id
from server_jobs.records.status import JobStatus, status_of
from server_jobs.schedules.plan import Fire, FireTime, Reset
from server_jobs.schedules.schedule import Decision, Overlap, Schedule, ScheduleRecord
from server_jobs.schedules.statements.define import DefineStatements
from server_jobs.schedules.statements.fire import FireStatements
from server_jobs.schedules.statements.read import ReadStatements
from server_jobs.schedules.statements.shared import EDITED_COLUMNS, RECORD_COLUMNS
from server_jobs.sql.fit import BLOB_ID, Fit
from server_jobs.sql.statement import Row
from server_jobs.sql.tables import tables
from server_jobs.store.store import Store

DUE_LIMIT = 500
_FIRE_TIMES_PER_STATEMENT = 1_000
_EVER = datetime.min.replace(tzinfo=UTC)
_TIMING = ("cron_expression", "time_zone", "starts_at", "ends_at")

T = TypeVar("T")

_RECORD = Fit([tables().cron_jobs.c[name] for name in RECORD_COLUMNS])


@dataclass(frozen=True, slots=True)
class Fired:
    """Reports what firing a batch of due schedules did."""

    decisions: dict[str, Decision] = field(default_factory=dict)
    """Decisions by schedule id, without schedules that another process has taken."""
    job_ids: frozenset[str] = frozenset()
    """The ids of the jobs that were made."""
    replaced: dict[str, str] = field(default_factory=dict)
    """Schedule ids by the ids of jobs that were cancelled, or asked to cancel, for a successor."""


class ScheduleStore:
    """Reads and writes the schedules of one database. Methods that ask it raise DatabaseError.

    ``now`` replaces the database's clock by another SQL expression.
    """

    def __init__(self, database: Database, now: ColumnElement[datetime] | None = None) -> None:
        self.database = database
        self._store = Store(database, now)
        self._fire_sql = FireStatements.of(database, now)
        self._define_sql = DefineStatements.of(database, now)
        self._read_sql = ReadStatements.of(database, now)

    async def clock(self) -> datetime:
        """Read the database's clock → in UTC."""
        return await self._store.clock()

    # ── firing ───────────────────────────────────────────────────────────────────────────────

    async def due(self, now: datetime, limit: int = DUE_LIMIT) -> list[ScheduleRecord]:
        """Read the schedules to decide on, the most overdue first."""
        found = await self.database.execute(self._read_sql.due(now, limit))
        return _records(found)

    async def ahead(self, moment: datetime) -> list[ScheduleRecord]:
        """Read the enabled schedules that were changed after ``moment``."""
        found = await self.database.execute(self._read_sql.ahead(moment))
        return _records(found)

    async def fire(
        self, fires: Sequence[Fire], fire_times: Sequence[FireTime], kinds: set[str]
    ) -> Fired:
        """Take fire times and make their jobs, all in one batch or none.

        Jobs that are to be replaced are cancelled before, in a commit of its own: the batch waits
        for whoever writes to a job of the same fire time, and mustn't hold other jobs meanwhile.
        If the batch fails, the schedules stay due, and are then free to fire. ``kinds`` has the
        ``overlap`` of each schedule among them. Schedules that another process has taken meanwhile
        are left out. Raises DataRefusedError if the database refuses a job.
        """
        replaced: Iterable[Row] = ()
        if Overlap.REPLACE in kinds:
            replaced = await self.database.execute(self._fire_sql.replace(fires))
        batch = Batch()
        batch.add(self._fire_sql.advance(fires))
        in_order = sorted(fire_times, key=lambda one: (one.schedule_id, one.fire_at or _EVER))
        inserted = batch.add_all(self._fire_sql.insert(chunk) for chunk in _chunks(in_order))
        decided = batch.add(self._fire_sql.trace(fires))
        waits = bool(kinds & {Overlap.QUEUE, Overlap.REPLACE})
        waiting = batch.add(self._fire_sql.wait(fires)) if waits else ()
        await batch.run(self.database)
        return Fired(
            {schedule_id: Decision(decision) for schedule_id, decision in decided}
            | {schedule_id: Decision.WAITING for (schedule_id,) in waiting},
            frozenset(row[0] for made in inserted for row in made),
            dict(replaced),
        )

    async def reset(self, resets: Sequence[Reset]) -> set[str]:
        """Set next fire times without firing → ids of the schedules that were still as seen."""
        found = await self.database.execute(self._define_sql.reset(resets))
        return {schedule_id for (schedule_id,) in found}

    # ── definitions ──────────────────────────────────────────────────────────────────────────

    async def put(self, schedule: Schedule) -> ScheduleRecord:
        """Add a schedule, or change the one of that name to this definition → its record.

        Call ``schedule.check()`` first. A schedule never fires for the past: if its times change,
        its next fire time lies after now. Whether an existing schedule is enabled stays as it is.
        Raises InvalidScheduleError if another source manages the name.
        """
        for _ in range(3):
            existing = await self.find(schedule.name)
            if existing is None:
                statement = self._define_sql.add(
                    schedule,
                    schedule_id=new_id(),
                    next_run_at=schedule.next_after(await self.clock()),
                )
            elif existing.managed_by != schedule.managed_by:
                raise InvalidScheduleError(
                    f"schedule {schedule.name!r}: the name is taken by one that"
                    f" {existing.managed_by} manages; give it another name"
                )
            elif not _differs(existing, schedule, EDITED_COLUMNS):
                return existing
            else:
                changed = _differs(existing, schedule, _TIMING)
                statement = self._define_sql.edit(
                    schedule,
                    schedule_id=existing.id,
                    next_run_at=schedule.next_after(await self.clock()) if changed else None,
                )
            if await self.database.execute(statement):
                return await self.get(schedule.name)
        raise InvalidScheduleError(
            f"schedule {schedule.name!r}: another process keeps changing it; try again"
        )

    async def set_enabled(self, name: str, enabled: bool) -> ScheduleRecord:
        """Enable or disable a schedule → its record. Raises ScheduleNotFoundError.

        An enabled schedule goes on from now: fire times that passed meanwhile get no jobs.
        """
        schedule = await self.get(name)
        next_run_at = schedule.next_after(await self.clock()) if enabled else None
        await self.database.execute(self._define_sql.switch(schedule.id, next_run_at=next_run_at))
        return await self.get(name)

    async def prune(self, managed_by: str, keep: Iterable[str]) -> list[str]:
        """Disable the source's schedules whose names aren't in ``keep`` → their names."""
        found = await self.database.execute(self._define_sql.prune(managed_by, list(keep)))
        return sorted(name for (name,) in found)

    async def remove(self, name: str) -> None:
        """Delete a schedule; its jobs stay. Raises ScheduleNotFoundError."""
        await self.database.execute(self._define_sql.remove((await self.get(name)).id))

    # ── by a person ──────────────────────────────────────────────────────────────────────────

    async def run_now(self, name: str) -> str:
        """Make a job of a schedule at once, even of a disabled one → the job's id.

        The job belongs to no fire time, and ``overlap`` isn't considered. Raises
        ScheduleNotFoundError.
        """
        schedule = await self.get(name)
        fire_time = FireTime(new_id(), schedule.id, None, None, await self.clock())
        await self.database.execute(self._fire_sql.insert_asked_for([fire_time]))
        return fire_time.job_id

    async def backfill(
        self, schedule: ScheduleRecord, fire_times: Sequence[datetime]
    ) -> dict[datetime, str]:
        """Make the jobs of past fire times, due now → job ids by fire time.

        Fire times that have a job already get no second one, and are left out of the answer.
        """
        now = await self.clock()
        made: dict[datetime, str] = {}
        for chunk in _chunks(fire_times):
            moments = {new_id(): moment for moment in chunk}
            found = await self.database.execute(
                self._fire_sql.insert_asked_for(
                    [
                        FireTime(job_id, schedule.id, None, moment, now)
                        for job_id, moment in moments.items()
                    ]
                )
            )
            inserted = {row[0] for row in found}
            made |= {moment: job_id for job_id, moment in moments.items() if job_id in inserted}
        return made

    # ── read ─────────────────────────────────────────────────────────────────────────────────

    async def find(self, name: str) -> ScheduleRecord | None:
        """Read the schedule of that name → None if there is none."""
        found = _records(await self.database.execute(self._read_sql.by_name(name)))
        if not found and name.startswith(BLOB_ID):
            # It is a BLOB, which equals no text, and goes by another name here (see ``as_id``).
            found = [schedule for schedule in await self.list_all() if schedule.name == name]
        return found[0] if found else None

    async def get(self, name: str) -> ScheduleRecord:
        """Read the schedule of that name. Raises ScheduleNotFoundError."""
        schedule = await self.find(name)
        if schedule is None:
            raise ScheduleNotFoundError(
                f"there is no schedule {name!r}: `server-jobs schedule list` shows all schedules"
            )
        return schedule

    async def list_all(self) -> list[ScheduleRecord]:
        """Read all schedules, ordered by name."""
        return _records(await self.database.execute(self._read_sql.list_all()))

    async def live_jobs(self, schedule: ScheduleRecord) -> dict[str, JobStatus]:
        """Read the jobs of a schedule that haven't ended, oldest first → status by job id."""
        found = await self.database.execute(self._read_sql.live_jobs(schedule.id))
        return {job_id: status_of(status) or JobStatus.FAILED for job_id, status in found}


def _chunks(sequence: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(sequence), _FIRE_TIMES_PER_STATEMENT):
        yield sequence[start : start + _FIRE_TIMES_PER_STATEMENT]


def _records(rows: Iterable[Row]) -> list[ScheduleRecord]:
    return [_record(row) for row in rows]


def _record(row: Row) -> ScheduleRecord:
    misfits = {}
    if not _RECORD(row):
        misfits, row = _RECORD.misfits(row), _RECORD.mended(row)
    return ScheduleRecord(**dict(zip(RECORD_COLUMNS, row, strict=True)), misfits=misfits)


def _differs(existing: ScheduleRecord, wanted: Schedule, columns: Iterable[str]) -> bool:
    return any(_comparable(existing, name) != _comparable(wanted, name) for name in columns)


def _comparable(schedule: Schedule, column: str) -> object:
    value = getattr(schedule, column)
    if column in {"params", "retry_policy", "runtime"} and value is not None:
        # jsonb keeps neither spaces nor the order of keys.
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    return value
