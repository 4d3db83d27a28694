"""What an expression and a zone may be, what is refused and how, and where fire times begin."""

import contextlib
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_jobs.errors import InvalidScheduleError
from server_jobs.schedules.cron import (
    ALIASES,
    LONGEST_EXPRESSION,
    clock_changes,
    fire_times,
    parse,
    time_zone,
)

ZURICH = time_zone("Europe/Zurich")
NEW_YORK = time_zone("America/New_York")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def first(expression: str, after: datetime, zone: str = "UTC", count: int = 1) -> list[datetime]:
    return list(islice(fire_times(parse(expression), time_zone(zone), after), count))


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("0 0 30 2 *", "never fires: none of its months has such a day"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("* * * * * *", r"has 6 fields, not five .*fields for seconds and years aren't supported"),
        ("0 0 12 1 * * 2027", "has 7 fields, not five"),
        ("0 9 * *", r"has 4 fields, not five \(minute, hour, day of month, month, day of week\)"),
        ("", "has 0 fields, not five"),
        ("R * * * *", "R in minute would be another random number each time it is read; use H"),
        ("0 R(1-5) * * *", "R in hour"),
        ("0 0 15W * *", r"W \(the nearest working day\) in day of month isn't supported"),
        ("0 0 w15 * *", "nearest working day"),
        ("0 0 LW * *", "nearest working day"),
        ("@reboot", "isn't one of @yearly, .*@hourly"),
        ("@", "isn't one of"),
        ("61 * * * *", r"'61' is no minute \(use 0-59,"),
        ("0 24 * * *", "'24' is no hour"),
        ("0 0 0 * *", "'0' is no day of month"),
        ("0 0 0-5 * *", "'0-5' is no day of month"),
        ("0 0 L-3 * *", "'L-3' is no day of month"),
        ("0 0 * 13 *", "'13' is no month"),
        ("0 0 * * 8", "'8' is no day of week"),
        ("0 0 * * mon-fry", "'MON-FRY' is no day of week"),
        ("0 0 * * 1#6", "'1#6' is no day of week"),
        ("0 0 * * 1,5#2", "make two schedules"),
        ("0 0 * * *,L5", "make two schedules"),
        ("*/0 * * * *", r"'\*/0' is no minute"),
        ("5-9/0 * * * *", "'5-9/0' is no minute"),
        ("-5 * * * *", "'-5' is no minute"),
        ("1,,2 * * * *", "'1,,2' is no minute"),
        ("H(9-70) * * * *", r"'H\(9-70\)' is no minute"),
        ("? * * * *", r"'\?' is no minute"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_field_and_a_way_out(
    expression: str, complaint: str
) -> None:
    with pytest.raises(InvalidScheduleError, match=complaint):
        parse(expression)


@pytest.mark.parametrize(
    "given", [None, 5, b"* * * * *", ["*"] * 5, "*" * (LONGEST_EXPRESSION + 1)]
)
def test_only_text_of_moderate_length_is_read(given: Any) -> None:
    with pytest.raises(InvalidScheduleError, match="isn't text of at most 250 characters"):
        parse(given)


@given(st.text(st.sampled_from("0123456789*/-,?#LHRWljan monfri()@\t\xa0\ud800"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidScheduleError):
        assert next(fire_times(parse(text, name=text), ZURICH, utc(2026, 1, 1))) > utc(2026, 1, 1)


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        *ALIASES.items(),
        ("@Daily", "0 0 * * *"),
        (" @HOURLY ", "0 * * * *"),
        ("0 9 * jan-MAR Mon-fri", "0 9 * 1-3 1-5"),
        ("0\t9  * * *", "0 9 * * *"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * 7-7", "0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * fri-mon", "0 0 * * 0,1,5,6"),
        ("0 0 * * mon-wed#2", "0 0 * * 1#2,2#2,3#2"),
        ("50/5 * * * *", "50,55 * * * *"),
        ("59/15 * * * *", "59 * * * *"),
        ("0 22-2 * * *", "0 0,1,2,22,23 * * *"),
        ("0 0 29-L * *", "0 0 29-31 * *"),
        ("0 0 ? * 1", "0 0 * * 1"),
        ("0 0 l * *", "0 0 L * *"),
    ],
)
def test_spellings_of_the_same(expression: str, same: str) -> None:
    assert parse(expression) == parse(same)


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 0 L * *", ["01-31", "02-28", "03-31"]),
        ("0 0 * * L5", ["01-30", "02-27", "03-27"]),
        # The latest that a last one can be, and the earliest.
        ("0 0 * 7,12 L5", ["07-31", "12-25", "07-30"]),
        ("0 0 * * 5#2", ["01-09", "02-13", "03-13"]),
        ("0 0 * * 4#1,L4", ["01-29", "02-05", "02-26"]),
        ("0 0 13 * 5", ["01-02", "01-09", "01-13"]),
        ("0 0 13 * ?", ["01-13", "02-13", "03-13"]),
        ("0 0 */2 * 5", ["01-09", "01-23", "02-13"]),
        ("0 0 13 * */5", ["02-13", "03-13", "09-13"]),
        ("0 0 13 */2 */5", ["03-13", "09-13", "11-13"]),
    ],
)
def test_days_are_found_by_date_and_by_weekday(expression: str, days: list[str]) -> None:
    assert [f"{moment:%m-%d}" for moment in first(expression, utc(2026, 1, 1), count=3)] == days


def test_hashed_fields_stay_in_range_and_go_by_the_name() -> None:
    for n in range(300):
        expression = parse("H(10-20) H/6 H H H", name=f"job-{n}")

        assert expression == parse("H(10-20) H/6 H H H", name=f"job-{n}")
        assert 10 <= min(expression.minutes) == max(expression.minutes) <= 20
        assert [later - hour for hour, later in pairwise(expression.hours)] == [6] * 3
        assert expression.days <= set(range(1, 29))
        assert expression.months <= set(range(1, 13))
        assert expression.weekdays <= set(range(7))


def test_a_thousand_hashed_hourly_schedules_are_spread_over_the_hour() -> None:
    minutes = Counter(parse("H * * * *", name=f"report-{n}").minutes for n in range(1_000))

    assert len(minutes) == 60
    assert max(minutes.values()) < 60


def test_a_monthly_schedule_with_a_hashed_day_fires_every_month() -> None:
    for n in range(100):
        times = fire_times(
            parse("0 0 H * *", name=f"report-{n}"), time_zone("UTC"), utc(2026, 1, 1) - timedelta(1)
        )
        assert [moment.month for moment in islice(times, 12)] == list(range(1, 13))


def test_fire_times_are_later_than_the_moment_asked_for() -> None:
    assert first("0 9 * * *", utc(2026, 1, 1, 9)) == [utc(2026, 1, 2, 9)]
    assert first("0 9 * * *", utc(2026, 1, 1, 9) - timedelta(microseconds=1)) == [
        utc(2026, 1, 1, 9)
    ]
    assert first("* * * * *", utc(2026, 1, 1, 9, 0, 59)) == [utc(2026, 1, 1, 9, 1)]


@pytest.mark.parametrize("expression", ["* * * * *", "30 1,2,3 * * *"])
def test_what_follows_a_fire_time_does_not_depend_on_where_the_walk_began(expression: str) -> None:
    for begin in (utc(2026, 3, 28, 20), utc(2026, 10, 24, 20)):
        walked = first(expression, begin, "Europe/Zurich", count=600)

        for moment, following in pairwise(walked):
            assert first(expression, moment, "Europe/Zurich") == [following]


@pytest.mark.parametrize("minutes", [-1, 0, 1, 29, 30, 31, 59, 60, 61])
def test_what_a_doubled_hour_repeats_has_fired_wherever_in_it_one_asks(minutes: int) -> None:
    put_back = utc(2026, 10, 25, 1)

    after = put_back + timedelta(minutes=minutes)

    assert first("30 2 * * *", after, "Europe/Zurich") == [utc(2026, 10, 26, 1, 30)]


def test_any_aware_moment_is_taken_and_a_naive_one_refused() -> None:
    tokyo = timezone(timedelta(hours=9))

    assert first("0 9 * * *", datetime(2026, 1, 1, 18, tzinfo=tokyo)) == [utc(2026, 1, 2, 9)]
    with pytest.raises(ValueError, match="isn't a moment in time"):
        fire_times(parse("* * * * *"), ZURICH, datetime(2026, 1, 1))  # noqa: DTZ001


def test_rare_days_are_found_across_a_century_without_a_leap_day() -> None:
    assert first("0 0 29 2 *", utc(2096, 3, 1)) == [utc(2104, 2, 29)]
    assert first("0 0 * 2 1#5", utc(2072, 3, 1)) == [utc(2112, 2, 29)]


def test_what_the_clock_skips_each_time_ends_instead_of_being_sought_for_ever() -> None:
    class KnownForACentury(ZoneInfo):
        def utcoffset(self, moment: datetime | None) -> timedelta | None:
            assert moment is not None
            assert moment.year < 2126
            return super().utcoffset(moment)

    expression, zone = parse("* 2 * 3 0#2"), KnownForACentury("America/New_York")

    assert list(fire_times(expression, zone, utc(2026, 1, 1))) == []
    assert first("0 2 * 3 0#2", utc(2026, 1, 1), "America/New_York") == [utc(2026, 3, 8, 7)]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/New_York"])
def test_both_ends_of_the_calendar_are_quiet(zone: str) -> None:
    latest, earliest = utc(9999, 12, 31, 23, 59, 59), utc(1, 1, 1)

    assert first("0 0 1 1 *", latest, zone) == []
    assert list(clock_changes(time_zone(zone), latest, latest)) == []
    assert first("0 0 1 1 *", earliest, zone)[0].year in (2, 3)
    assert list(clock_changes(time_zone(zone), earliest, utc(3, 1, 1))) == []


def test_clock_changes_are_from_the_start_to_before_the_end() -> None:
    spring, autumn = clock_changes(ZURICH, utc(2026, 1, 1), utc(2027, 1, 1))

    assert (spring.at, spring.skips) == (utc(2026, 3, 29, 1), True)
    assert (autumn.at, autumn.skips) == (utc(2026, 10, 25, 1), False)
    assert list(clock_changes(ZURICH, spring.at, autumn.at)) == [spring]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Zürich", "did you mean 'Europe/Zurich'"),
        ("zurich", "did you mean 'Europe/Zurich'"),
        ("New York", "did you mean 'America/New_York'"),
        ("europe/berlin2", "did you mean 'Europe/Berlin'"),
        ("../../etc/passwd", "for instance 'Europe/Zurich'"),
        ("", "for instance 'Europe/Zurich'"),
        ("Europe", "isn't a zone of the tz database"),
        # What these say depends on the machine, or counts leap seconds.
        ("localtime", "isn't a zone of the tz database"),
        ("right/Europe/Zurich", "isn't a zone of the tz database"),
        ("a\0b", "isn't a zone of the tz database"),
        ("\ud800", "isn't a zone of the tz database"),
        (None, "isn't a zone of the tz database"),
        (["UTC"], "isn't a zone of the tz database"),
    ],
)
def test_unknown_zones_are_refused_with_a_suggestion(name: Any, hint: str) -> None:
    with pytest.raises(InvalidScheduleError, match=hint):
        time_zone(name)
