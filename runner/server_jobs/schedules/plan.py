"""What becomes of a schedule's fire times: decided here, written elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, islice, takewhile
from typing import NamedTuple

from server_jobs.schedules.schedule import (
    MOST_CATCHUPS,
    NEVER,
    Catchup,
    Decision,
    Overlap,
    ScheduleRecord,
)


class Fire(NamedTuple):
    """What a tick makes of one due schedule. Without a job, its fire times were missed."""

    schedule_id: str
    cron_expression: str
    """With the zone, what ``next_run_at`` was computed by."""
    time_zone: str
    seen: datetime
    next_run_at: datetime
    token: str
    fire_at: datetime | None
    """The newest fire time that gets a job."""
    job_id: str | None
    note: str | None


class FireTime(NamedTuple):
    """One fire time and the job to be made for it."""

    job_id: str
    schedule_id: str
    token: str | None
    fire_at: datetime | None
    scheduled_for: datetime


class Reset(NamedTuple):
    """A schedule's next fire time, set without firing."""

    schedule_id: str
    seen: datetime | None
    next_run_at: datetime
    decision: str | None
    note: str | None


ON_TIME = timedelta(seconds=90)
"""Later than this, a fire time is one that was missed: no scheduler was there for it.

Longer than a minute, which is how often the edge looks.
"""


_MOST_COUNTED = 1_000


_LONGEST_WINDOW_SECONDS = 10 * 366 * 86_400.0


_FIRST_SPAN = timedelta(minutes=2)


_INSTANT = timedelta(microseconds=1)


_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Plan:
    """What is to become of a schedule's fire times that are due."""

    seen: datetime
    """The ``next_run_at`` that it was made for."""
    fire_at: Sequence[datetime]
    """Those that get a job, oldest first."""
    missed: Sequence[datetime]
    """Those that don't any more, oldest first; at most a thousand."""
    next_run_at: datetime

    @property
    def note(self) -> str | None:
        """The missed ones in words."""
        if not self.missed:
            return None
        many = len(self.missed)
        count = f"{many} fire time{'' if many == 1 else 's'}"
        if many == _MOST_COUNTED:
            count = f"at least {count}"
        return f"missed {count} from {self.missed[0]:%Y-%m-%d %H:%M} UTC on"


def plan(schedule: ScheduleRecord, now: datetime) -> Plan:
    """What becomes of the fire times from ``next_run_at`` until now. Pure.

    Those of the last 90 seconds are on time. After downtime, ``catchup`` says what is made up
    for, no longer ago than its window. Where jobs mustn't overlap, at most one is made.
    """
    seen = schedule.next_run_at
    if seen is None:
        raise ValueError("its first fire time isn't computed yet")
    alone = schedule.overlap != Overlap.ALLOW
    if schedule.last_decision == Decision.WAITING and alone:
        # They weren't missed: they waited for a job to end, and have collapsed into one.
        return Plan(seen, _newest(schedule, seen, now, limit=1), (), schedule.next_after(now))
    on_time = now - ON_TIME
    if seen >= on_time:
        # What happens every minute walks the calendar once.
        chosen, following = _until(now, _from(schedule, seen))
    else:
        following = schedule.next_after(now)
        match schedule.catchup:
            case Catchup.NONE:
                chosen, _ = _until(now, _from(schedule, on_time))
            case Catchup.ALL:
                limit = min(schedule.catchup_limit, MOST_CATCHUPS)
                chosen = _newest(schedule, max(seen, _window(schedule, now)), now, limit=limit)
            case _:
                chosen = _newest(schedule, max(seen, _window(schedule, now)), now, limit=1)
    if alone:
        chosen = chosen[-1:]
    missed: list[datetime] = []
    if not chosen or chosen[0] > seen:
        until = chosen[0] if chosen else now + _INSTANT
        before = takewhile(lambda moment: moment < until, _from(schedule, seen))
        missed = list(islice(before, _MOST_COUNTED))
    return Plan(seen, chosen, missed, following)


def _until(now: datetime, times: Iterator[datetime]) -> tuple[list[datetime], datetime]:
    """Those of the times until now, and the one that follows."""
    found: list[datetime] = []
    for moment in times:
        if moment > now:
            return found, moment
        found.append(moment)
    return found, NEVER


def _newest(
    schedule: ScheduleRecord, since: datetime, now: datetime, *, limit: int
) -> list[datetime]:
    """The newest fire times since then, oldest first.

    Looked for in spans that double, for there may be a year of minutes.
    """
    span = _FIRST_SPAN
    while True:
        start = max(since, now - span)
        found, _ = _until(now, _from(schedule, start))
        if start == since or len(found) >= limit:
            return found[-limit:]
        span *= 2


def _from(schedule: ScheduleRecord, moment: datetime) -> Iterator[datetime]:
    """Fire times from that moment on. What the row says is one, whatever the expression says."""
    times = schedule.fire_times(moment - _INSTANT)
    if moment != schedule.next_run_at or not schedule.lasts_at(moment):
        return times
    return chain([moment], (time for time in times if time > moment))


def _window(schedule: ScheduleRecord, now: datetime) -> datetime:
    window = schedule.catchup_window_seconds
    if window is None:
        return _BEGINNING
    # A window shorter than that keeps nothing out that is on time.
    return min(now - timedelta(seconds=min(window, _LONGEST_WINDOW_SECONDS)), now - ON_TIME)
