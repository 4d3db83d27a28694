"""A row that can't be fired never stops the others, and goes on once it is mended."""

import logging

import pytest
from uuid6 import uuid7

from server_jobs.schedules import Decision
from server_jobs.schedules.scheduler import BROKEN_AGAIN
from tests.support.databases.raw_sql import refusing_new
from tests.support.drills.agenda import JOB, NAME, Agenda, at

LOG = "server_jobs.scheduler"

BREAKAGES = {
    "expression": ("cron_expression = 'every morning'", "has 2 fields, not five"),
    "field": ("cron_expression = '61 * * * *'", "can't be read"),
    "never": ("cron_expression = '0 0 30 2 *'", "never fires"),
    "zone": ("time_zone = 'Europe/Zurch'", "did you mean 'Europe/Zurich'?"),
}


def of_report(change: str) -> str:
    return f"UPDATE cron_jobs SET {change} WHERE name = '{NAME}'"


@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_broken_row_is_noted_and_the_others_fire_in_the_same_tick(
    agenda: Agenda, breakage: str
) -> None:
    change, reason = BREAKAGES[breakage]
    for name in ("before", NAME, "zebra"):
        await agenda.put(name=name)
    await agenda.sql(of_report(change))

    ticked = await agenda.tick_at("09:00")

    assert ticked.decisions == {
        "before": Decision.FIRED,
        NAME: Decision.BROKEN,
        "zebra": Decision.FIRED,
    }
    row = await agenda.get()
    assert row.last_decision == Decision.BROKEN
    assert row.last_note
    assert reason in row.last_note
    assert row.next_run_at == at("09:00") + BROKEN_AGAIN
    assert await agenda.fired() == []


@pytest.mark.parametrize(
    "change",
    [
        "catchup_window_seconds = 1e300",
        "catchup_limit = 10000",
        "priority = -5",
        "starts_at = '0001-01-01 00:00:00'",
    ],
)
async def test_absurd_but_readable_row_fires(agenda: Agenda, change: str) -> None:
    await agenda.put(catchup="all")
    await agenda.sql(of_report(change))

    assert await agenda.decision_at("10:05") == Decision.FIRED
    assert await agenda.fired() == ["09:00", "10:00"]


async def test_mended_row_goes_on_from_now_on(agenda: Agenda) -> None:
    await agenda.put("*/10 * * * *", catchup="all")
    await agenda.sql(of_report("time_zone = 'Nowhere'"))
    await agenda.tick_at("08:10")
    await agenda.sql(of_report("time_zone = 'UTC'"))

    assert await agenda.decision_at("08:10:59") is None, "it is looked at a minute later"
    assert await agenda.decision_at("08:35") is None, "what it missed isn't made up for"
    row = await agenda.get()
    assert (row.last_decision, row.last_note, row.next_run_at) == (None, None, at("08:40"))
    assert await agenda.decision_at("08:40") == Decision.FIRED
    assert await agenda.fired() == ["08:40"]


async def test_row_mended_by_its_owner_fires_at_its_very_next_time(agenda: Agenda) -> None:
    await agenda.put("*/10 * * * *")
    await agenda.sql(of_report("cron_expression = 'nonsense'"))
    await agenda.tick_at("08:10")
    await agenda.put("*/10 * * * *")

    assert (await agenda.get()).last_decision is None
    assert await agenda.decision_at("08:20") == Decision.FIRED


async def test_broken_row_that_was_never_looked_at_is_noted_too(agenda: Agenda) -> None:
    await agenda.sql(
        "INSERT INTO cron_jobs (id, name, job_name, cron_expression)"
        f" VALUES ('{uuid7()}', '{NAME}', '{JOB}', 'nonsense')"
    )

    assert await agenda.decision_at("09:00") == Decision.BROKEN
    assert (await agenda.get()).next_run_at == at("09:01")


async def test_log_tells_once_not_once_a_minute(
    agenda: Agenda, caplog: pytest.LogCaptureFixture
) -> None:
    await agenda.put()
    await agenda.sql(of_report("time_zone = 'Europe/Zurch'"))

    with caplog.at_level(logging.INFO, LOG):
        for moment in ("09:00", "09:01", "09:02", "09:05"):
            assert await agenda.decision_at(moment) == Decision.BROKEN

    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert line.getMessage() == (
        "schedule report is broken and doesn't fire: time_zone='Europe/Zurch' isn't a zone of the"
        " tz database; did you mean 'Europe/Zurich'?"
    )


async def test_other_reason_is_told_of_anew(
    agenda: Agenda, caplog: pytest.LogCaptureFixture
) -> None:
    await agenda.put()
    await agenda.sql(of_report("time_zone = 'Nowhere'"))

    with caplog.at_level(logging.ERROR, LOG):
        await agenda.tick_at("09:00")
        await agenda.sql(of_report("time_zone = 'UTC', cron_expression = 'nonsense'"))
        await agenda.tick_at("09:01")

    assert len(caplog.messages) == 2


async def test_disabled_row_may_be_as_broken_as_it_likes(agenda: Agenda) -> None:
    await agenda.put(enabled=False)
    await agenda.sql(of_report("cron_expression = 'nonsense'"))

    assert (await agenda.tick_at("09:00")).decisions == {}


async def test_hundreds_of_broken_rows_do_not_starve_the_others(agenda: Agenda) -> None:
    columns = "id, name, job_name, cron_expression, next_run_at"
    values = ", ".join(
        f"('{uuid7()}', 'broken-{n}', '{JOB}', 'nonsense', '{agenda.stamp(at('07:00'))}')"
        for n in range(600)
    )
    await agenda.sql(f"INSERT INTO cron_jobs ({columns}) VALUES {values}")
    await agenda.put()

    ticked = await agenda.tick_at("09:00")

    assert ticked.decisions[NAME] == Decision.FIRED
    assert list(ticked.decisions.values()).count(Decision.BROKEN) == 600
    assert await agenda.decision_at("10:00") == Decision.FIRED


async def test_job_that_the_database_refuses_breaks_its_own_schedule_alone(agenda: Agenda) -> None:
    for number in range(5):
        await agenda.put(name=f"good-{number}")
    await agenda.put(job_name="Refused", overlap="replace")

    async with refusing_new(agenda.database, "NEW.job_name = 'Refused'"):
        ticked = await agenda.tick_at("09:00")

    assert ticked.decisions == {
        NAME: Decision.BROKEN,
        **{f"good-{number}": Decision.FIRED for number in range(5)},
    }
    assert len(ticked.job_ids) == 5
    row = await agenda.get()
    assert row.last_note
    assert "refused by the test" in row.last_note
    assert row.last_run_at is None
