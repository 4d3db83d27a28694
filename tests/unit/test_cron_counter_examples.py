"""What ADR 0005 says of croniter on its own, beside what this library makes of it.

Where one of these begins to fail with another croniter, what it shows is mended there, and the ADR
may be looked at again.
"""

from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from server_jobs.errors import InvalidScheduleError
from server_jobs.schedules.cron import fire_times, parse, time_zone


def bare(expression: str, zone: str, after: str, count: int) -> list[str]:
    """What croniter gives by itself."""
    reader = croniter(expression, datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone)))
    return [reader.get_next(datetime).isoformat() for _ in range(count)]


def ours(expression: str, zone: str, after: str, count: int) -> list[str]:
    begin = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone))
    times = fire_times(parse(expression), time_zone(zone), begin)
    return [moment.astimezone(time_zone(zone)).isoformat() for moment in islice(times, count)]


def test_a_daily_job_fires_twice_in_a_doubled_hour() -> None:
    asked = "30 2 * * *", "Europe/Zurich", "2026-10-24T12:00", 2

    assert bare(*asked) == ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]
    assert ours(*asked) == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]


def test_every_second_hour_fires_after_a_gap_as_well() -> None:
    asked = "0 */2 * * *", "Europe/Zurich", "2026-03-29T01:00", 2

    assert bare(*asked) == ["2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"]
    assert ours(*asked) == ["2026-03-29T04:00:00+02:00", "2026-03-29T06:00:00+02:00"]


def test_every_twentieth_minute_is_left_out_in_a_doubled_half_hour() -> None:
    asked = "*/20 * * * *", "Australia/Lord_Howe", "2026-04-05T01:30", 3

    assert bare(*asked) == [
        "2026-04-05T01:40:00+11:00",
        "2026-04-05T02:00:00+10:30",
        "2026-04-05T02:20:00+10:30",
    ]
    assert ours(*asked) == [
        "2026-04-05T01:40:00+11:00",
        "2026-04-05T01:40:00+10:30",
        "2026-04-05T02:00:00+10:30",
    ]


def test_a_stepped_day_of_month_with_a_weekday_means_either() -> None:
    # Mondays that are the 1st, 11th, 21st or 31st, as in Debian's cron; croniter takes any Monday.
    asked = "0 0 */10 * 1", "UTC", "2026-01-01T12:00", 2

    assert bare(*asked) == ["2026-01-05T00:00:00+00:00", "2026-01-11T00:00:00+00:00"]
    assert ours(*asked) == ["2026-05-11T00:00:00+00:00", "2026-06-01T00:00:00+00:00"]


def test_a_working_day_loses_its_w_where_the_fields_are_asked_for() -> None:
    assert croniter.expand("0 0 15W * *") == croniter.expand("0 0 15 * *")
    with pytest.raises(InvalidScheduleError, match="nearest working day"):
        parse("0 0 15W * *")


def test_hourly_moves_and_gets_seconds_where_anything_is_hashed() -> None:
    fields, _ = croniter.expand("@hourly", hash_id=b"report")

    assert fields != croniter.expand("0 * * * *")[0]
    assert len(fields) == 6
    assert parse("@hourly", name="report") == parse("0 * * * *")


def test_a_range_of_one_is_everything() -> None:
    assert croniter.expand("0 9-9 * * *") == croniter.expand("0 * * * *")
    assert parse("0 9-9 * * *").hours == (9,)


def test_a_range_across_midnight_loses_count_of_its_steps() -> None:
    assert croniter.expand("0 22-4/3 * * *")[0][1] == [2, 22]
    assert parse("0 22-4/3 * * *").hours == (1, 4, 22)


def test_a_numbered_weekday_swallows_the_plain_one() -> None:
    assert croniter.expand("0 0 * * 1,1#2") == croniter.expand("0 0 * * 1#2")
    with pytest.raises(InvalidScheduleError, match="make two schedules"):
        parse("0 0 * * 1,1#2")
