"""From a cron expression to its fire times. Pure: no clock, no database.

Five fields (minute, hour, day of month, month, day of week) with names, ranges, steps, lists,
``L``, ``#``, ``H`` and the ``@hourly`` family. croniter reads them; this module walks the calendar
(docs/adr/0005 says why). Where both day fields are restricted, either one is enough, as in every
cron.

Daylight saving follows Debian's cron. Where minute or hour begins with ``*``, the expression
follows elapsed time: nothing fires in a skipped hour, and all fires again in a doubled one. Any
other names local times, and each fires once: a skipped one just after the gap, a doubled one the
first time.
"""

from __future__ import annotations

import difflib
import re
from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from croniter import CroniterError, croniter

from server_jobs.errors import InvalidScheduleError

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

LONGEST_EXPRESSION = 250

_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_DAY = timedelta(days=1)
_PIECE = 32 * _DAY
# The calendar repeats after 28 years, weekdays and leap days included: what doesn't fire in these
# never does.
_CYCLE = datetime(2000, 1, 1), datetime(2028, 1, 1)  # noqa: DTZ001 - on the wall
_END_OF_TIME = datetime(9990, 1, 1, tzinfo=UTC)
# Letters that croniter takes and gives another meaning, or none (docs/adr/0005).
_RANDOM = re.compile(r"(?<![A-Z])R(?![A-Z])")
_WORKDAY = re.compile(r"(?<![A-Z])(?:\d+|L)?W(?![A-Z])")


@dataclass(frozen=True)
class CronExpression:
    """When, by a clock on the wall. Made by :func:`parse`."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    last_day: bool
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    nth_weekdays: frozenset[tuple[int, int]]
    """(weekday, which one of the month); -1 is the last."""
    both_days: bool
    """Day of month and day of week must both fit; else one of them is enough."""
    follows_elapsed_time: bool

    def local_times(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """What fits from ``start`` to before ``end``, all of it naive local time, in order."""
        day = start.date()
        while day <= end.date():
            if day.month not in self.months:
                day = (day.replace(day=1) + 32 * _DAY).replace(day=1)
                continue
            if self._fits(day):
                for hour in self.hours:
                    for minute in self.minutes:
                        moment = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001
                        if moment >= end:
                            return
                        if moment >= start:
                            yield moment
            day += _DAY

    def _fits(self, day: date) -> bool:
        length = monthrange(day.year, day.month)[1]
        by_date = day.day in self.days or (self.last_day and day.day == length)
        weekday = day.isoweekday() % 7
        by_weekday = (
            weekday in self.weekdays
            or (weekday, (day.day + 6) // 7) in self.nth_weekdays
            or ((weekday, -1) in self.nth_weekdays and day.day + 7 > length)
        )
        return by_date and by_weekday if self.both_days else by_date or by_weekday


@dataclass(frozen=True)
class ClockChange:
    """A moment at which a zone's clock is put forward or back."""

    at: datetime
    before: timedelta
    """The offset from UTC until then."""
    after: timedelta

    @property
    def skips(self) -> bool:
        """Whether local times are left out; else they come twice."""
        return self.after > self.before


def parse(expression: str, *, name: str = "") -> CronExpression:
    """Read an expression; ``H`` is hashed from ``name``, the schedule's.

    Raises InvalidScheduleError where it can't be read or never fires.
    """
    return _parse(expression, name)


@lru_cache(maxsize=4096)
def _parse(expression: str, name: str) -> CronExpression:
    fields = _fields(expression)
    try:
        expanded, nth = croniter.expand(" ".join(fields), hash_id=name.encode())
    except (CroniterError, ValueError, KeyError) as error:
        raise InvalidScheduleError(
            f"cron_expression={expression!r} can't be read: {error}"
        ) from error
    minutes, hours, days, months, weekdays = (
        _members(values, least, most)
        for values, (least, most) in zip(
            expanded, ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6)), strict=True
        )
    )
    parsed = CronExpression(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        last_day="l" in expanded[2],
        months=frozenset(months),
        # Days named by their number in the month stand among the plain ones as well.
        weekdays=frozenset(weekdays - set(nth)),
        nth_weekdays=frozenset(
            (weekday, -1 if which == "l" else int(which))
            for weekday, several in nth.items()
            for which in several
        ),
        both_days=fields[2][0] in "*?" or fields[4][0] in "*?",
        follows_elapsed_time=fields[0].startswith("*") or fields[1].startswith("*"),
    )
    if next(parsed.local_times(*_CYCLE), None) is None:
        raise InvalidScheduleError(
            f"cron_expression={expression!r} never fires: no month has such a day"
        )
    return parsed


def _fields(expression: str) -> list[str]:
    if not isinstance(expression, str) or len(expression) > LONGEST_EXPRESSION:
        raise InvalidScheduleError(
            f"cron_expression isn't text of at most {LONGEST_EXPRESSION} characters"
        )
    text = expression.strip()
    if text.startswith("@"):
        if text.lower() not in ALIASES:
            raise InvalidScheduleError(
                f"cron_expression={expression!r} isn't one of {', '.join(ALIASES)}"
            )
        text = ALIASES[text.lower()]
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise InvalidScheduleError(
            f"cron_expression={expression!r} has {len(fields)} fields, not five"
            f" ({', '.join(_FIELDS)}), for instance '0 9 * * 1-5'; seconds and years aren't taken"
        )
    for name, field in zip(_FIELDS, fields, strict=True):
        if _RANDOM.search(field.upper()):
            raise InvalidScheduleError(
                f"cron_expression={expression!r}: R in {name} would be random each time it is"
                " read; H is spread by the schedule's name, and stays"
            )
        if _WORKDAY.search(field.upper()):
            raise InvalidScheduleError(
                f"cron_expression={expression!r}: W (the nearest working day) in {name} isn't"
                " taken; name the days of the week"
            )
    return fields


def _members(values: Sequence[int | str], least: int, most: int) -> set[int]:
    if "*" in values:
        return set(range(least, most + 1))
    return {value for value in values if isinstance(value, int)}


@lru_cache(maxsize=1024)
def time_zone(name: str) -> ZoneInfo:
    """An IANA zone by its name. Raises InvalidScheduleError, with a suggestion."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError) as error:
        known = available_timezones()
        by_city = {zone.rpartition("/")[2].lower(): zone for zone in sorted(known)}
        wanted = str(name).rpartition("/")[2].lower().replace(" ", "_")
        close = difflib.get_close_matches(str(name), known, n=1) or [
            by_city[city] for city in difflib.get_close_matches(wanted, by_city, n=1)
        ]
        hint = f"; did you mean {close[0]!r}?" if close else "; for instance 'Europe/Zurich'"
        raise InvalidScheduleError(
            f"time_zone={name!r} isn't a zone of the tz database{hint}"
        ) from error


def fire_times(expression: CronExpression, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Fire times later than ``after``, in order and in UTC, as long as there are any.

    Between two changes of its offset, a zone's wall clock runs straight: each such stretch is
    walked by itself, and what the clock skips or repeats is judged where two of them meet.
    """
    after = after.astimezone(UTC)
    begin = after.replace(second=0, microsecond=0)
    straight = expression.follows_elapsed_time
    if not straight and _offset(zone, begin - 2 * _DAY) != _offset(zone, begin):
        begin -= 4 * _DAY  # what a doubled hour repeats has fired before it
    reached: datetime | None = None
    for start, end, offset in _stretches(zone, begin):
        local_start, local_end = _local(start, offset), _local(end, offset)
        if reached is not None and not straight:
            if start > after and any(True for _ in expression.local_times(reached, local_start)):
                yield start  # skipped local times, and none of them twice
                local_start += timedelta(microseconds=1)
            local_start = max(local_start, reached)
        for moment in expression.local_times(local_start, local_end):
            fire_time = (moment - offset).replace(tzinfo=UTC)
            if fire_time > after:
                yield fire_time
        reached = local_end if reached is None else max(reached, local_end)


def clock_changes(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[ClockChange]:
    """When the zone's clock is put forward or back, from ``start`` to before ``end``."""
    before: timedelta | None = None
    for begin, _, offset in _stretches(zone, start.astimezone(UTC)):
        if begin >= end:
            return
        if before is not None and before != offset:
            yield ClockChange(begin, before, offset)
        before = offset


def _stretches(zone: ZoneInfo, begin: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """From ``begin`` on, what has one offset from UTC: start, end, offset.

    A long one comes in pieces of a month, so that whoever needs only its beginning doesn't wait
    for its end to be found.
    """
    start = probe = begin
    offset = _offset(zone, begin)
    while probe < _END_OF_TIME:
        if _offset(zone, probe + _DAY) != offset:
            probe = _change(zone, probe, probe + _DAY)
        else:
            probe += _DAY
            if probe - start < _PIECE:
                continue
        yield start, probe, offset
        start, offset = probe, _offset(zone, probe)


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The first moment, to the second, at which the offset isn't that of ``low`` any more."""
    offset = _offset(zone, low)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low).total_seconds() // 2)
        if _offset(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _local(moment: datetime, offset: timedelta) -> datetime:
    return moment.replace(tzinfo=None) + offset
