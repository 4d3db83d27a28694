"""Fire times against an oracle: a slow, obvious walk over the minutes of each zone's wall clock.

The oracle shares nothing with the code: it takes an expression apart before it is text, matches
each minute by itself, and reads the clock by asking the zone what it shows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import takewhile
from zoneinfo import available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server_jobs.errors import InvalidScheduleError
from server_jobs.schedules.cron import ClockChange, clock_changes, fire_times, parse, time_zone

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FIRST, LAST = datetime(1970, 1, 2, tzinfo=UTC), datetime(2037, 12, 30, tzinfo=UTC)
# The machine's own setting and the placeholder for none stand among the zones of some systems.
ZONES = sorted(available_timezones() - {"localtime", "posixrules", "Factory"})
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
BOUNDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


@dataclass(frozen=True)
class Piece:
    """One entry of a field's list, as text and as what it means."""

    text: str
    values: frozenset[int] = frozenset()
    last_day: bool = False
    nth_weekday: tuple[int, int] | None = None
    """-1 is the last."""


@dataclass(frozen=True)
class Fields:
    """A generated expression: five lists of pieces."""

    lists: tuple[tuple[Piece, ...], ...]

    @property
    def text(self) -> str:
        return " ".join(",".join(piece.text for piece in pieces) for pieces in self.lists)

    @property
    def follows_elapsed_time(self) -> bool:
        return any(pieces[0].text.startswith("*") for pieces in self.lists[:2])

    def matches(self, wall: datetime) -> bool:
        minutes, hours, days, months, weekdays = self.lists
        if not (
            any(wall.minute in piece.values for piece in minutes)
            and any(wall.hour in piece.values for piece in hours)
            and any(wall.month in piece.values for piece in months)
        ):
            return False
        by_date = any(
            wall.day in piece.values or (piece.last_day and (wall + DAY).month != wall.month)
            for piece in days
        )
        weekday = wall.isoweekday() % 7
        by_weekday = any(
            weekday in piece.values
            or (piece.nth_weekday is not None and self._is_nth(wall, *piece.nth_weekday))
            for piece in weekdays
        )
        if days[0].text[0] in "*?" or weekdays[0].text[0] in "*?":
            return by_date and by_weekday
        return by_date or by_weekday

    @staticmethod
    def _is_nth(wall: datetime, weekday: int, which: int) -> bool:
        if wall.isoweekday() % 7 != weekday:
            return False
        if which == -1:
            return (wall + 7 * DAY).month != wall.month
        before = [wall - weeks * 7 * DAY for weeks in range(6)]
        return sum(day.month == wall.month for day in before) == which


@cache
def offset(zone: str, moment: datetime) -> timedelta:
    result = moment.astimezone(time_zone(zone)).utcoffset()
    assert result is not None
    return result


def wall_minutes(zone: str, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Each moment at which a minute begins on the zone's clock, and what the clock then shows."""
    # 44 minutes and 30 seconds behind UTC until 1972, and alone in that since 1970.
    step = MINUTE / 2 if zone == "Africa/Monrovia" else MINUTE
    moment = start.replace(second=0, microsecond=0)
    while moment < end:
        wall = moment.replace(tzinfo=None) + offset(zone, moment)
        if wall.second == 0:
            yield moment, wall
        moment += step


def oracle(fields: Fields, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """Fire times later than ``after`` and before ``until``."""
    # Since 1970, no clock was put back by more than seven hours (Vostok, 1994).
    shown = list(wall_minutes(zone, after - 8 * HOUR, until))
    if fields.follows_elapsed_time:
        fired = [moment for moment, wall in shown if fields.matches(wall)]
    else:
        first: dict[datetime, datetime] = {}
        for moment, wall in shown:
            first.setdefault(wall, moment)
        fired = [moment for wall, moment in first.items() if fields.matches(wall)]
        latest = shown[0][1]
        for moment, wall in shown[1:]:
            skipped = latest + MINUTE
            while skipped < wall and not fields.matches(skipped):
                skipped += MINUTE
            if skipped < wall:
                fired.append(changed_at(zone, moment))
            latest = max(latest, wall)
    return sorted({moment for moment in fired if after < moment < until})


def changed_at(zone: str, moment: datetime) -> datetime:
    """When the clock was changed, for the last time before ``moment``."""
    while offset(zone, moment - timedelta(seconds=1)) == offset(zone, moment):
        moment -= timedelta(seconds=1)
    return moment


def fired(fields: Fields, zone: str, after: datetime, until: datetime) -> list[datetime]:
    times = fire_times(parse(fields.text), time_zone(zone), after)
    return list(takewhile(lambda moment: moment < until, times))


def any_day_fits(fields: Fields) -> bool:
    """Whether it fires on any day of the 28 years after which the calendar repeats."""
    minute, hour = (min(min(piece.values) for piece in pieces) for pieces in fields.lists[:2])
    first = datetime(1999, 1, 1, hour, minute)  # noqa: DTZ001 - on the wall
    return any(fields.matches(first + days * DAY) for days in range(28 * 366))


@cache
def changes(zone: str, first_year: int = 1970, last_year: int = 2037) -> tuple[ClockChange, ...]:
    return tuple(
        clock_changes(
            time_zone(zone),
            datetime(first_year, 1, 1, tzinfo=UTC),
            datetime(last_year + 1, 1, 1, tzinfo=UTC),
        )
    )


def plain(low: int, high: int, names: list[str]) -> st.SearchStrategy[Piece]:
    """Numbers, names, ranges (those that wrap, too), steps and everything."""
    size = high - low + 1
    everything = range(low, high + 1)

    def spelled(value: int, by_name: bool) -> str:
        return names[value - low].title() if names and by_name else str(value)

    def ranged(first: int, last: int, step: int, by_name: bool) -> Piece:
        span = (last - first) % size
        values = frozenset((first - low + n) % size + low for n in range(0, span + 1, step))
        text = f"{spelled(first, by_name)}-{spelled(last, by_name)}"
        return Piece(text if step == 1 else f"{text}/{step}", values)

    def stepped(first: int | None, step: int) -> Piece:
        return Piece(
            f"{'*' if first is None else first}/{step}",
            frozenset(range(low if first is None else first, high + 1, step)),
        )

    value = st.integers(low, high)
    step = st.integers(1, size)
    return (
        st.builds(lambda v, n: Piece(spelled(v, n), frozenset([v])), value, st.booleans())
        | st.builds(ranged, value, value, st.just(1) | step, st.booleans())
        | st.builds(stepped, st.none() | value, step)
        | st.just(Piece("*", frozenset(everything)))
    )


def lists(pieces: st.SearchStrategy[Piece]) -> st.SearchStrategy[tuple[Piece, ...]]:
    return st.lists(pieces, min_size=1, max_size=3).map(tuple)


anything = [
    plain(*bounds, names)
    for bounds, names in zip(BOUNDS, [[], [], [], MONTHS, WEEKDAYS], strict=True)
]
question_mark = st.just((Piece("?", frozenset(range(32))),))
numbered = st.builds(
    lambda day, which: Piece(
        f"L{day}" if which == -1 else f"{day}#{which}", nth_weekday=(day, which)
    ),
    st.integers(0, 6),
    st.sampled_from([-1, 1, 2, 3, 4, 5]),
)
everything = st.just((Piece("*", frozenset(range(60))),))
expressions = st.builds(
    lambda *fields: Fields(fields),
    lists(anything[0]),
    lists(anything[1]),
    everything | lists(anything[2] | st.just(Piece("L", last_day=True))) | question_mark,
    everything | lists(anything[3]),
    everything | lists(anything[4]) | lists(numbered) | question_mark,
)


@st.composite
def places(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone, and a moment that is mostly close to one of its clock's changes."""
    zone = draw(st.sampled_from(ZONES))
    close = draw(st.integers(0, 4)) > 0
    if close and changes(zone):
        around = draw(st.sampled_from([change.at for change in changes(zone)]))
        return zone, around + timedelta(seconds=draw(st.integers(-30 * 3600, 6 * 3600)))
    return zone, FIRST + timedelta(
        seconds=draw(st.integers(0, int((LAST - FIRST).total_seconds())))
    )


@given(expressions, places())
@settings(max_examples=250)
def test_fire_times_are_those_of_the_oracle_in_any_zone(
    fields: Fields, place: tuple[str, datetime]
) -> None:
    zone, after = place
    until = after + DAY
    wanted = oracle(fields, zone, after, until)
    if not wanted and not any_day_fits(fields):
        with pytest.raises(InvalidScheduleError, match="never fires"):
            parse(fields.text)
        return

    assert fired(fields, zone, after, until) == wanted


def fixed(text: str) -> Fields:
    """Numbers and lists alone, and ``*`` for everything."""
    return Fields(
        tuple(
            tuple(
                Piece(piece, frozenset(range(60) if piece == "*" else [int(piece)]))
                for piece in field.split(",")
            )
            for field in text.split()
        )
    )


EVERY_HOUR = ",".join(map(str, range(24)))
AROUND_ANY_CHANGE = [
    # Local times, the first and last minutes of any skipped or doubled half hour among them ...
    fixed(f"0,1,29,30,31,59 {EVERY_HOUR} * * *"),
    # ... and elapsed time, by either of the two fields.
    Fields(((Piece("*/7", frozenset(range(0, 60, 7))),), *fixed("0 * * * *").lists[1:])),
    fixed("13 * * * *"),
]
# Whole days left out, half hours, a quarter of one, 44 minutes and a half, seven hours twice.
ODD_CHANGES = [
    ("Pacific/Apia", 2011),
    ("Pacific/Kwajalein", 1993),
    ("Pacific/Kiritimati", 1994),
    ("Africa/Casablanca", 2012),
    ("Africa/Casablanca", 2019),
    ("Australia/Lord_Howe", 1985),
    ("America/Caracas", 2007),
    ("America/Caracas", 2016),
    ("Asia/Pyongyang", 2015),
    ("Asia/Pyongyang", 2018),
    ("Asia/Kathmandu", 1985),
    ("Africa/Monrovia", 1972),
    ("Antarctica/Vostok", 1994),
    ("Antarctica/Casey", 2010),
    ("America/St_Johns", 1988),
    ("America/Recife", 2000),
    ("Europe/Dublin", 1971),
    ("Asia/Gaza", 2037),
]


def assert_like_the_oracle_around(change: ClockChange, zone: str) -> None:
    span = abs(change.after - change.before) + 2 * HOUR
    after, until = change.at - span, change.at + span
    for fields in AROUND_ANY_CHANGE:
        wanted = oracle(fields, zone, after, until)
        assert wanted
        assert fired(fields, zone, after, until) == wanted, (zone, fields.text)


def test_every_change_of_every_zone_in_these_years_is_like_the_oracle() -> None:
    changed = [(change, zone) for zone in ZONES for change in changes(zone, 2025, 2026)]

    assert {change.skips for change, _ in changed} == {True, False}
    for change, zone in changed:
        assert_like_the_oracle_around(change, zone)


@pytest.mark.parametrize(("zone", "year"), ODD_CHANGES)
def test_odd_changes_of_the_past_are_like_the_oracle(zone: str, year: int) -> None:
    assert changes(zone, year, year)
    for change in changes(zone, year, year):
        assert_like_the_oracle_around(change, zone)


@pytest.mark.parametrize(("zone", "year"), ODD_CHANGES)
def test_clock_changes_are_those_that_the_zone_shows_hour_by_hour(zone: str, year: int) -> None:
    start, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    shown = []
    moment, before = start - HOUR, offset(zone, start - HOUR)
    while (moment := moment + HOUR) < end + HOUR:
        after = offset(zone, moment)
        if after != before and start <= (at := changed_at(zone, moment)) < end:
            shown.append(ClockChange(at, before, after))
        before = after

    assert list(clock_changes(time_zone(zone), start, end)) == shown
