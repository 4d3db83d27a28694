"""Computes the fire times of a cron expression. The functions are pure: no clock, no database.

An expression has five fields (minute, hour, day of month, month, day of week) with names, ranges,
steps, lists, ``L``, ``#`` and ``H``, or is one of ``@hourly`` and its like. croniter reads the
fields; this module walks the calendar (docs/adr/0005-croniter-reads-we-walk.md says why). If both
day fields are restricted, a day that fits either one is enough, as in every cron.

Daylight saving follows Debian's cron. If the minute or the hour begins with ``*``, the expression
follows elapsed time: nothing fires in a skipped hour, and everything fires again in a repeated
one. Every other expression names local times, and each of them fires once: a skipped time fires
just after the gap, a repeated time the first time.
"""

from __future__ import annotations

import difflib
import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from croniter import croniter

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

_MACHINE_ZONES = ("localtime", "posixrules", "factory")
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
# The calendar repeats after 28 years, weekdays and leap days included: an expression that doesn't
# fire in these years never does.
_CYCLE = datetime(2000, 1, 1), datetime(2028, 1, 1)  # noqa: DTZ001 - local times
_YEARS = range(2, 9990)
_BEGINNING = datetime(_YEARS.start, 1, 1, tzinfo=UTC)
# A leap day of a given weekday comes every 28 years, or after 40 across a century year without
# one. An expression that waits for longer names only times that its zone's clock skips, such as
# `* 2 * 3 0#2` in New York.
_PATIENCE = 50 * 366 * _DAY
# Letters that croniter accepts but reads differently, or ignores (ADR 0005 lists them).
_RANDOM = re.compile(r"(?<![A-Z])R(?![A-Z])")
_WORKDAY = re.compile(r"(?<![A-Z])(?:\d+|L)?W(?![A-Z])")
_RANGE = re.compile(r"(\w+)-(\w+)(?:/(\d+)|#(\d+))?", re.ASCII)
_NUMBERED = re.compile(r".+#\d+|L\d+", re.ASCII)


@dataclass(frozen=True)
class _Field:
    name: str
    least: int
    most: int
    takes: str
    words: tuple[str, ...] = ()

    def number(self, word: str) -> int | None:
        if word in self.words:
            return self.words.index(word) + self.least
        return int(word) if word.isdecimal() else None

    def spelled_out(self, piece: str) -> str:
        """Write a range out as a list: croniter reads ``9-9`` as ``*``, and miscounts ``22-2/3``.

        Raises ValueError for a range that isn't one of this field.
        """
        match = _RANGE.fullmatch(piece)
        if match is None:
            return piece
        first, last, step, which = match.groups()
        low = self.number(first)
        high = self.most if self is _DAY_OF_MONTH and last == "L" else self.number(last)
        if low is None or high is None or not self._has(low) or not self._has(high):
            raise ValueError(piece)
        size = self.most - self.least + 1
        if low > self.most:  # Sunday is both 0 and 7
            low, high = low - size, high % size
        if high < low:
            high += size
        values = (
            (v - self.least) % size + self.least for v in range(low, high + 1, int(step or 1))
        )
        return ",".join(f"{value}#{which}" if which else str(value) for value in values)

    def _has(self, number: int) -> bool:
        return self.least <= number <= (7 if self is _DAY_OF_WEEK else self.most)


_DAY_OF_MONTH = _Field("day of month", 1, 31, "1-31, L")
_DAY_OF_WEEK = _Field(
    "day of week", 0, 6, "0-7, SUN-SAT, 5#2, L5", ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
)
_FIELDS = (
    _Field("minute", 0, 59, "0-59"),
    _Field("hour", 0, 23, "0-23"),
    _DAY_OF_MONTH,
    _Field(
        "month",
        1,
        12,
        "1-12, JAN-DEC",
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
    ),
    _DAY_OF_WEEK,
)


@dataclass(frozen=True)
class CronExpression:
    """Says which local times an expression names. :func:`parse` makes it."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    last_day: bool
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    nth_weekdays: frozenset[tuple[int, int]]
    """Pairs of a weekday and which one of the month it is; -1 is the last."""
    both_days: bool
    """Whether day of month and day of week must both fit; otherwise one of them is enough."""
    follows_elapsed_time: bool

    def local_times(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the local times from ``start`` to before ``end``, in order; all are naive."""
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
    """Describes a moment at which a zone's clock is put forward or back."""

    at: datetime
    before: timedelta
    """The offset from UTC until then."""
    after: timedelta
    """The offset from UTC from then on."""

    @property
    def skips(self) -> bool:
        """Whether the change skips local times; otherwise it repeats some."""
        return self.after > self.before


def parse(expression: str, *, name: str = "") -> CronExpression:
    """Read an expression. ``H`` becomes a number that is hashed from ``name``, the schedule's name.

    Raises InvalidScheduleError if it can't be read or never fires.
    """
    given: object = expression  # read from a row, which any program may have written
    if not isinstance(given, str) or len(given) > LONGEST_EXPRESSION:
        raise InvalidScheduleError(
            f"cron_expression isn't text of at most {LONGEST_EXPRESSION} characters"
        )
    # Only H depends on the name: without it, all schedules share the cached result.
    return _parse(expression, name if "H" in expression.upper() else "")


@lru_cache(maxsize=4096)
def _parse(expression: str, name: str) -> CronExpression:
    texts = _split(expression)
    minutes, hours, days, months, weekdays = (
        _read(expression, index, text, name) for index, text in enumerate(texts)
    )
    parsed = CronExpression(
        minutes=tuple(sorted(minutes.numbers)),
        hours=tuple(sorted(hours.numbers)),
        days=days.numbers,
        last_day=days.last,
        months=months.numbers,
        weekdays=weekdays.numbers,
        nth_weekdays=weekdays.nth,
        both_days=texts[2][0] in "*?" or texts[4][0] in "*?",
        follows_elapsed_time=texts[0][0] == "*" or texts[1][0] == "*",
    )
    if next(parsed.local_times(*_CYCLE), None) is None:
        raise InvalidScheduleError(
            f"cron_expression={expression!r} never fires: none of its months has such a day"
        )
    return parsed


def _split(expression: str) -> list[str]:
    text = expression.strip()
    if text.startswith("@"):
        if text.lower() not in ALIASES:
            raise InvalidScheduleError(
                f"cron_expression={expression!r} isn't one of {', '.join(ALIASES)}"
            )
        text = ALIASES[text.lower()]
    texts = text.upper().split()
    if len(texts) != len(_FIELDS):
        raise InvalidScheduleError(
            f"cron_expression={expression!r} has {len(texts)} fields, not five"
            f" ({', '.join(field.name for field in _FIELDS)}), for instance '0 9 * * 1-5';"
            " fields for seconds and years aren't supported"
        )
    return texts


@dataclass(frozen=True)
class _Members:
    """Holds the values that a field allows."""

    numbers: frozenset[int]
    last: bool
    nth: frozenset[tuple[int, int]]


def _read(expression: str, index: int, text: str, name: str) -> _Members:
    field = _FIELDS[index]
    if field is _DAY_OF_MONTH and text == "H":
        text = "H(1-28)"  # with 31, the schedule would fire in seven months only
    pieces = text.split(",")
    if _RANDOM.search(text):
        raise InvalidScheduleError(
            f"cron_expression={expression!r}: R in {field.name} would be another random number"
            " each time it is read; use H, whose number follows from the schedule's name and stays"
        )
    if _WORKDAY.search(text):
        raise InvalidScheduleError(
            f"cron_expression={expression!r}: W (the nearest working day) in {field.name} isn't"
            " supported; name the days of the week"
        )
    if field is _DAY_OF_WEEK and len({bool(_NUMBERED.fullmatch(piece)) for piece in pieces}) > 1:
        raise InvalidScheduleError(
            f"cron_expression={expression!r}: days of the week with # or L can't be mixed with"
            " plain ones; make two schedules"
        )
    alone = ["*"] * len(_FIELDS)
    try:
        alone[index] = ",".join(map(field.spelled_out, pieces))
        expanded, nth = croniter.expand(" ".join(alone), hash_id=name.encode())
    except ValueError as error:
        raise InvalidScheduleError(
            f"cron_expression={expression!r} can't be read: {text!r} is no {field.name}"
            f" (use {field.takes}, *, ranges, steps, lists or H)"
        ) from error
    values = expanded[index]
    everything = range(field.least, field.most + 1) if "*" in values else ()
    return _Members(
        # croniter lists weekdays with a number in the month (5#2) among the plain ones as well.
        numbers=frozenset({v for v in values if isinstance(v, int)}.union(everything) - set(nth)),
        last="l" in values,
        nth=frozenset(
            (int(weekday), -1 if str(which) == "l" else int(which))
            for weekday, several in nth.items()
            for which in several
        ),
    )


def time_zone(name: str) -> ZoneInfo:
    """Find a time zone by its IANA name. Raises InvalidScheduleError, which suggests a name."""
    try:
        return _time_zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError, AttributeError) as error:
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


@lru_cache(maxsize=1024)
def _time_zone(name: str) -> ZoneInfo:
    if name.lower() in _MACHINE_ZONES or name.startswith(("posix/", "right/")):
        raise ValueError(name)
    return ZoneInfo(name)


def fire_times(expression: CronExpression, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the fire times later than ``after``, in order and in UTC, as long as there are any.

    Raises ValueError if ``after`` is naive.
    """
    # Between two changes of its offset, a zone's local time runs evenly. Each such stretch is
    # walked by itself. Times that the clock skips or repeats are judged where two stretches meet.
    if after.tzinfo is None:
        raise ValueError(f"a naive datetime isn't a moment in time: {after!r}; give it a tzinfo")
    return _fire_times(expression, zone, after.astimezone(UTC))


def _fire_times(expression: CronExpression, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    after = max(after, _BEGINNING)
    begin = after.replace(second=0, microsecond=0)
    straight = expression.follows_elapsed_time
    if not straight and any(clock_changes(zone, begin - 2 * _DAY, begin + _SECOND)):
        begin -= 2 * _DAY  # the times that a repeated hour repeats have fired before it
    latest = after
    reached: datetime | None = None
    for start, end, offset in _stretches(zone, begin):
        if start - latest > _PATIENCE:
            return
        local_start, local_end = _local(start, offset), _local(end, offset)
        if reached is not None and not straight:
            if start > after and any(expression.local_times(reached, local_start)):
                yield (latest := start)  # one fire time for all the skipped local times
                local_start += timedelta(microseconds=1)
            local_start = max(local_start, reached)
        for moment in expression.local_times(local_start, local_end):
            fire_time = (moment - offset).replace(tzinfo=UTC)
            if fire_time > after:
                yield (latest := fire_time)
        reached = local_end if reached is None else max(reached, local_end)


def clock_changes(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[ClockChange]:
    """Yield the changes of the zone's clock from ``start`` to before ``end``, in order."""
    for year in range(start.astimezone(UTC).year, end.astimezone(UTC).year + 1):
        for change in _changes(zone, year):
            if start <= change.at < end:
                yield change


def _stretches(zone: ZoneInfo, begin: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Yield stretches with one offset from UTC, from ``begin`` on → start, end, offset.

    A stretch also ends at each new year, since changes are computed by the year.
    """
    start = begin
    for year in range(begin.year, _YEARS.stop):
        for change in _changes(zone, year):
            if change.at > start:
                yield start, change.at, change.before
                start = change.at
        end = datetime(year + 1, 1, 1, tzinfo=UTC)
        yield start, end, _offset(zone, start)
        start = end


@lru_cache(maxsize=4096)
def _changes(zone: ZoneInfo, year: int) -> tuple[ClockChange, ...]:
    """Find a year's changes by looking at each day: no zone has ever had two within one day."""
    if year not in _YEARS:
        return ()
    changes: list[ClockChange] = []
    low = datetime(year, 1, 1, tzinfo=UTC) - _SECOND
    last = datetime(year + 1, 1, 1, tzinfo=UTC) - _SECOND
    offset = _offset(zone, low)
    while low < last:
        high = min(low + _DAY, last)
        after = _offset(zone, high)
        if after != offset:
            changes.append(ClockChange(_change(zone, low, high), offset, after))
        low, offset = high, after
    return tuple(changes)


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """Find the first second, up to ``high``, at which the offset differs from that of ``low``."""
    offset = _offset(zone, low)
    while high - low > _SECOND:
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
