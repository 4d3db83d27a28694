"""Makes one job for each due fire time, however many processes run schedulers at once.

Every backend calls :meth:`Scheduler.tick`, as often as it likes. There is no leader and no lock:
the compare-and-set in :mod:`server_jobs.schedules.statements` decides which process fires.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from server_jobs.errors import DataRefusedError, InvalidScheduleError
from server_jobs.records.ids import new_id
from server_jobs.records.text import clean
from server_jobs.schedules.plan import Fire, FireTime, Plan, Reset, plan
from server_jobs.schedules.schedule import NEVER, Decision, ScheduleRecord
from server_jobs.schedules.store import DUE_LIMIT, ScheduleStore
from server_jobs.store.halves import in_halves
from server_jobs.store.left_out import LeftOut

_log = logging.getLogger("server_jobs.scheduler")


CLOCKS_DIFFER_BY = timedelta(seconds=60)
"""A clock that was set back by less than this is ignored: it only delays fire times by as much."""

BROKEN_AGAIN = timedelta(seconds=60)
"""How long a schedule that can't be read is left alone before it is read again."""

_ROUNDS = 40
_LONGEST_NOTE = 500


@dataclass
class Ticked:
    """Reports what one tick did."""

    job_ids: list[str] = field(default_factory=list)
    """The ids of the jobs that were made."""
    decisions: dict[str, Decision] = field(default_factory=dict)
    """This tick's decisions by schedule name, without those that another process made."""


class Scheduler:
    """Fires the schedules of one database."""

    def __init__(self, schedules: ScheduleStore) -> None:
        self._schedules = schedules
        self._last_now: datetime | None = None
        self._refused = LeftOut(BROKEN_AGAIN.total_seconds())

    async def tick(self) -> Ticked:
        """Decide on every schedule that is due now.

        Raises DatabaseError. Decisions made before the error stay; the other schedules stay due.
        """
        ticked = Ticked()
        now = await self._schedules.clock()
        if self._last_now is None or now < self._last_now:
            await self._follow_clock_back(now)
        self._last_now = now
        for _ in range(_ROUNDS):
            limit = DUE_LIMIT + len(self._refused)
            due = await self._schedules.due(now, limit)
            if due:
                await self._decide(due, now, ticked)
            if len(due) < limit:
                break
        return ticked

    async def _follow_clock_back(self, now: datetime) -> None:
        """Bring next fire times back that were computed while the database's clock was ahead.

        Otherwise those schedules wouldn't fire until the clock reaches them again. Fire times that
        have a job already get no other.
        """
        resets: list[_ResetOf] = []
        for schedule in await self._schedules.ahead(now + CLOCKS_DIFFER_BY):
            if schedule.id in self._refused:
                continue
            note = "the clock was set back"
            try:
                reset = Reset(
                    schedule.id, schedule.next_run_at, schedule.next_after(now), None, note
                )
            except Exception as error:  # noqa: BLE001 - one broken row never stops the others
                reset = _broken(schedule, error, now)
            # A schedule that is already due stays due.
            if schedule.next_run_at is not None and reset.next_run_at < schedule.next_run_at:
                resets.append(_ResetOf(schedule, reset))
        if resets:
            changed = await self._reset(resets)
            if changed:
                many = (
                    "1 schedule follows"
                    if len(changed) == 1
                    else f"{len(changed)} schedules follow"
                )
                _log.warning("the clock was set back: %s it", many)

    async def _decide(self, due: Sequence[ScheduleRecord], now: datetime, ticked: Ticked) -> None:
        firings: list[_Firing] = []
        resets: list[_ResetOf] = []
        for schedule in due:
            if schedule.id in self._refused:
                continue
            try:
                _check_values(schedule)
                if schedule.next_run_at is None or schedule.last_decision == Decision.BROKEN:
                    first = schedule.next_after(now)
                    reset = Reset(schedule.id, schedule.next_run_at, first, None, None)
                    resets.append(_ResetOf(schedule, reset))
                    continue
                planned = plan(schedule, now)
                if planned.fire_at or planned.missed:
                    firings.append(_firing(schedule, planned))
                else:  # somebody has changed its row: it has ended, or begins later
                    following = planned.next_run_at
                    reset = Reset(schedule.id, schedule.next_run_at, following, None, None)
                    resets.append(_ResetOf(schedule, reset))
            except Exception as error:  # noqa: BLE001 - one broken row never stops the others
                resets.append(_ResetOf(schedule, _broken(schedule, error, now)))
        if resets:
            changed = await self._reset(resets)
            for schedule, reset in resets:
                if schedule.id in changed:
                    _report_reset(schedule, reset, ticked)

        async def fire(some: Sequence[_Firing]) -> Sequence[None]:
            await self._fire(some, ticked)
            return ()

        async def never(firing: _Firing, error: DataRefusedError) -> None:
            """The database will never accept this one's job."""
            reset = _broken(firing.schedule, error, now)
            if await self._reset([_ResetOf(firing.schedule, reset)]):
                _report_reset(firing.schedule, reset, ticked)

        await in_halves(firings, fire, never)

    async def _reset(self, resets: Sequence[_ResetOf]) -> set[str]:
        """Set next fire times → ids of the schedules that were still as seen.

        A schedule whose row the database refuses to change is left out for a while.
        """

        async def refused(one: _ResetOf, error: DataRefusedError) -> None:
            schedule, _ = one
            self._refused.add(schedule.id)
            text = "schedule %s can't be worked with: the database refuses to change its row: %s"
            _log.error(text, schedule.name, error, extra={"schedule": schedule.name})

        async def reset(some: Sequence[_ResetOf]) -> set[str]:
            return await self._schedules.reset([each for _, each in some])

        return set(await in_halves(resets, reset, refused))

    async def _fire(self, firings: Sequence[_Firing], ticked: Ticked) -> None:
        fire_times = [one for firing in firings for one in firing.fire_times]
        fired = await self._schedules.fire(
            [firing.fire for firing in firings],
            fire_times,
            {firing.schedule.overlap for firing in firings},
        )
        names = {firing.schedule.id: firing.schedule.name for firing in firings}
        for job_id, schedule_id in fired.replaced.items():
            fields = {"job_id": job_id, "schedule": names[schedule_id]}
            text = "job %s: cancelled, schedule %s replaces it"
            _log.info(text, job_id, names[schedule_id], extra=fields)
        made: dict[str, list[str]] = defaultdict(list)
        for one in fire_times:
            if one.job_id in fired.job_ids:
                made[one.schedule_id].append(one.job_id)
                ticked.job_ids.append(one.job_id)
        for schedule, planned, _, _ in firings:
            decision = fired.decisions.get(schedule.id)
            if decision is not None:
                ticked.decisions[schedule.name] = decision
                _report(schedule, planned, made[schedule.id], decision)


class _ResetOf(NamedTuple):
    schedule: ScheduleRecord
    reset: Reset


class _Firing(NamedTuple):
    schedule: ScheduleRecord
    plan: Plan
    fire: Fire
    fire_times: Sequence[FireTime]


def _firing(schedule: ScheduleRecord, planned: Plan) -> _Firing:
    token = new_id()
    fire_times = [
        FireTime(
            job_id=new_id(),
            schedule_id=schedule.id,
            token=token,
            fire_at=fire_at,
            scheduled_for=fire_at + schedule.delay_of(fire_at),
        )
        for fire_at in planned.fire_at
    ]
    newest = fire_times[-1] if fire_times else None
    fire = Fire(
        schedule_id=schedule.id,
        cron_expression=schedule.cron_expression,
        time_zone=schedule.time_zone,
        seen=planned.seen,
        next_run_at=planned.next_run_at,
        token=token,
        fire_at=newest and newest.fire_at,
        job_id=newest and newest.job_id,
        note=planned.note,
    )
    return _Firing(schedule, planned, fire, fire_times)


def _check_values(schedule: ScheduleRecord) -> None:
    for column, problem in schedule.misfits.items():
        raise InvalidScheduleError(
            f"column {column} {problem}; another program wrote that: correct it in the table, or"
            " remove the schedule"
        )


def _broken(schedule: ScheduleRecord, error: Exception, now: datetime) -> Reset:
    again = (now + BROKEN_AGAIN).replace(microsecond=0)
    note = clean(str(error) or type(error).__name__)[:_LONGEST_NOTE]
    return Reset(schedule.id, schedule.next_run_at, again, Decision.BROKEN, note)


def _report_reset(schedule: ScheduleRecord, reset: Reset, ticked: Ticked) -> None:
    fields = {"schedule": schedule.name}
    if reset.decision is None:
        text = "schedule %s: fires next at %s"
        _log.info(text, schedule.name, _moment(reset.next_run_at), extra=fields)
        return
    ticked.decisions[schedule.name] = Decision.BROKEN
    if schedule.last_note != reset.note:  # logged once, not once a minute
        _log.error(
            "schedule %s is broken and doesn't fire: %s", schedule.name, reset.note, extra=fields
        )


def _report(
    schedule: ScheduleRecord, planned: Plan, job_ids: list[str], decision: Decision
) -> None:
    """Log one line for a decision, with fields for programs that read the log."""
    fields: dict[str, object] = {"schedule": schedule.name, "decision": str(decision)}
    if planned.fire_at:
        fields["fire_at"] = planned.fire_at[-1].isoformat()
    if job_ids:
        fields["job_ids"] = job_ids
    match decision:
        case Decision.FIRED:
            text = f"fired for {_moment(planned.fire_at[-1])}: job {', '.join(job_ids)}"
        case Decision.SKIPPED:
            text = f"skipped {_moment(planned.fire_at[-1])}: an earlier job of it hasn't ended"
        case Decision.WAITING:
            text = f"{_moment(planned.fire_at[-1])} waits: an earlier job of it hasn't ended"
        case Decision.DEDUPLICATED:
            text = f"{_moment(planned.fire_at[-1])} has its job already"
        case _:
            text = "its fire times are too long ago"
    level = logging.WARNING if planned.missed else logging.INFO
    note = f" ({planned.note})" if planned.note and decision != Decision.WAITING else ""
    _log.log(level, "schedule %s: %s%s", schedule.name, text, note, extra=fields)


def _moment(moment: datetime) -> str:
    return "never" if moment == NEVER else f"{moment:%Y-%m-%d %H:%M} UTC"
