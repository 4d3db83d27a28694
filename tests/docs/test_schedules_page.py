"""The page on schedules: its table of daylight saving, its words and its numbers are the code's."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest

from server_jobs.schedules import Catchup, Decision, Overlap
from server_jobs.schedules.cron import ALIASES, fire_times, parse, time_zone
from server_jobs.schedules.plan import ON_TIME
from server_jobs.schedules.schedule import CATCHUP_LIMIT, CATCHUP_WINDOW_SECONDS
from tests.support.pages.markdown import ROOT, codes, tables

PAGE = ROOT / "docs" / "schedules.md"
(DAYLIGHT_SAVING,) = tables(PAGE)["Time zones and daylight saving"]


@pytest.mark.parametrize(
    "row", DAYLIGHT_SAVING, ids=lambda row: f"{row['expression']} {row['day']}"
)
def test_each_row_of_the_daylight_saving_table_is_what_happens(row: dict[str, str]) -> None:
    zone = time_zone(row["zone"])
    start = datetime.fromisoformat(row["day"]).replace(tzinfo=zone).astimezone(UTC)
    day_after = datetime.fromisoformat(row["day"]) + timedelta(days=1)
    end = day_after.replace(tzinfo=zone).astimezone(UTC)
    (expression,) = codes(row["expression"])

    times = fire_times(parse(expression), zone, start - timedelta(microseconds=1))
    fired = [
        f"{time.astimezone(zone):%H:%M%z}" for time in takewhile(lambda time: time < end, times)
    ]

    assert (", ".join(fired) or "none") == row["fires, in local time"]


@pytest.mark.parametrize(
    ("heading", "column", "kinds"),
    [
        ("When an earlier job hasn't ended", "`overlap`", Overlap),
        ("After downtime", "`catchup`", Catchup),
        ("What became of each fire time", "decision", Decision),
    ],
)
def test_every_kind_has_its_row(
    heading: str, column: str, kinds: type[Overlap] | type[Catchup] | type[Decision]
) -> None:
    (rows,) = tables(PAGE)[heading]

    assert sorted(codes(row[column])[0] for row in rows) == sorted(kinds)


def test_defaults_and_aliases_are_the_codes() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())

    assert f"within {ON_TIME.total_seconds():.0f} seconds" in text
    assert f"the newest `catchup_limit` of them ({CATCHUP_LIMIT})" in text
    assert CATCHUP_WINDOW_SECONDS == 86_400
    assert "`catchup_window`, a day by default" in text
    assert [alias for alias in ALIASES if alias != "@annually" and f"`{alias}`" not in text] == []
