"""Decides which of a schedule's due fire times get a job. Pure; ``scheduler`` writes the result."""

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
    """Says how a tick changes one due schedule. Moments are in UTC."""

    schedule_id: str
    cron_expression: str
    """The expression that ``next_run_at`` was computed from; so is the time zone."""
    time_zone: str
    seen: datetime
    """The schedule's ``next_run_at`` as it was read; the compare-and-set names it."""
    next_run_at: datetime
    token: str
    """Marks the schedule as fired by this tick."""
    fire_at: datetime | None
    """The newest fire time that gets a job; None if all were missed."""
    job_id: str | None
    """The job of that fire time; None if all were missed."""
    note: str | None


class FireTime(NamedTuple):
    """Describes one fire time and the job to be made for it. Moments are in UTC."""

    job_id: str
    schedule_id: str
    token: str | None
    """The token that the schedule must carry; None for a job that a person asked for."""
    fire_at: datetime | None
    """None for a job that belongs to no fire time."""
    scheduled_for: datetime
    """When the job is due: the fire time, put off by the schedule's jitter."""


class Reset(NamedTuple):
    """Sets a schedule's next fire time without making a job."""

    schedule_id: str
    seen: datetime | None
    next_run_at: datetime
    decision: str | None
    note: str | None


ON_TIME = timedelta(seconds=90)
"""A fire time that is older than this was missed: no scheduler was running for it.

It is longer than a minute, since schedulers at the edge run once a minute.
"""


_MOST_COUNTED = 1_000


_LONGEST_WINDOW_SECONDS = 10 * 366 * 86_400.0


_FIRST_SPAN = timedelta(minutes=2)


_INSTANT = timedelta(microseconds=1)


_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Plan:
    """Says which of a schedule's due fire times get a job. Moments are in UTC."""

    seen: datetime
    """The ``next_run_at`` for which the plan was made."""
    fire_at: Sequence[datetime]
    """The fire times that get a job, oldest first."""
    missed: Sequence[datetime]
    """The fire times that get none because they are too old, oldest first; at most a thousand."""
    next_run_at: datetime
    """The first fire time after now."""

    @property
    def note(self) -> str | None:
        """A sentence about the missed fire times; None if none was missed."""
        if not self.missed:
            return None
        many = len(self.missed)
        count = f"{many} fire time{'' if many == 1 else 's'}"
        if many == _MOST_COUNTED:
            count = f"at least {count}"
        return f"missed {count} from {self.missed[0]:%Y-%m-%d %H:%M} UTC on"


def plan(schedule: ScheduleRecord, now: datetime) -> Plan:
    """Decide which fire times from ``next_run_at`` until ``now`` get a job.

    Fire times of the last 90 seconds are on time. Older ones were missed, and the schedule's
    ``catchup`` says which of them get a job after all, within its window. If jobs mustn't overlap,
    at most one fire time gets a job. Raises ValueError if the schedule has no ``next_run_at``, and
    InvalidScheduleError if its expression or time zone can't be read.
    """
    seen = schedule.next_run_at
    if seen is None:
        raise ValueError(f"schedule {schedule.name!r}: its first fire time isn't computed yet")
    alone = schedule.overlap != Overlap.ALLOW
    if schedule.last_decision == Decision.WAITING and alone:
        # These weren't missed: they waited for an earlier job to end, and get one job together.
        return Plan(seen, _newest(schedule, seen, now, limit=1), (), schedule.next_after(now))
    on_time = now - ON_TIME
    if seen >= on_time:
        # The usual case, every minute: the calendar is walked only once.
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
    """Split off the times until ``now`` → these, and the one that follows (NEVER if none does)."""
    found: list[datetime] = []
    for moment in times:
        if moment > now:
            return found, moment
        found.append(moment)
    return found, NEVER


def _newest(
    schedule: ScheduleRecord, since: datetime, now: datetime, *, limit: int
) -> list[datetime]:
    """Find the newest ``limit`` fire times between ``since`` and ``now``, oldest first.

    It looks at spans that double each time, since ``since`` may be a year of minutes ago.
    """
    span = _FIRST_SPAN
    while True:
        start = max(since, now - span)
        found, _ = _until(now, _from(schedule, start))
        if start == since or len(found) >= limit:
            return found[-limit:]
        span *= 2


def _from(schedule: ScheduleRecord, moment: datetime) -> Iterator[datetime]:
    """Yield the fire times from ``moment`` on.

    The row's ``next_run_at`` counts as one even if the expression doesn't name it.
    """
    times = schedule.fire_times(moment - _INSTANT)
    if moment != schedule.next_run_at or not schedule.lasts_at(moment):
        return times
    return chain([moment], (time for time in times if time > moment))


def _window(schedule: ScheduleRecord, now: datetime) -> datetime:
    window = schedule.catchup_window_seconds
    if window is None:
        return _BEGINNING
    # Even a shorter window never excludes a fire time that is on time.
    return min(now - timedelta(seconds=min(window, _LONGEST_WINDOW_SECONDS)), now - ON_TIME)
