"""After downtime: what is made up for, and what is only told of."""

import logging
from datetime import timedelta

import pytest

from server_jobs.schedules import Catchup, Decision
from server_jobs.schedules.plan import ON_TIME
from tests.support.drills.agenda import NAME, Agenda, at, days

WEEK_LATER = at("12:05") + days(7)


async def test_none_gives_up_what_was_missed_and_says_how_much(
    agenda: Agenda, caplog: pytest.LogCaptureFixture
) -> None:
    await agenda.put(catchup=Catchup.NONE)

    with caplog.at_level(logging.INFO, "server_jobs.scheduler"):
        assert await agenda.decision_at("11:05") == Decision.MISSED

    row = await agenda.get()
    assert await agenda.fired() == []
    assert (row.last_decision, row.next_run_at) == (Decision.MISSED, at("12:00"))
    assert row.last_note == "missed 3 fire times from 2026-03-02 09:00 UTC on"
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert row.last_note in line.getMessage()
    assert await agenda.decision_at("11:06") is None, "it is told of once"


async def test_none_still_fires_what_is_due_just_now(agenda: Agenda) -> None:
    await agenda.put(catchup=Catchup.NONE)

    assert await agenda.decision_at("11:01") == Decision.FIRED

    assert await agenda.fired() == ["11:00"]
    assert (await agenda.get()).last_note == "missed 2 fire times from 2026-03-02 09:00 UTC on"


@pytest.mark.parametrize(
    ("late", "decision"),
    [
        (ON_TIME, Decision.FIRED),
        (ON_TIME + timedelta(milliseconds=1), Decision.MISSED),
    ],
    ids=["90-s", "more"],
)
async def test_fire_time_counts_as_missed_after_ninety_seconds(
    agenda: Agenda, late: timedelta, decision: Decision
) -> None:
    await agenda.put(catchup=Catchup.NONE)

    assert await agenda.decision_at(at("09:00") + late) == decision


@pytest.mark.parametrize(
    ("moment", "fired", "note"),
    [
        (at("09:20"), ["09:00"], None),
        (at("12:05"), ["12:00"], "missed 3 fire times from 2026-03-02 09:00 UTC on"),
        (WEEK_LATER, ["09 12:00"], "missed 171 fire times from 2026-03-02 09:00 UTC on"),
    ],
    ids=["minutes", "hours", "week"],
)
async def test_latest_makes_one_job_for_the_newest(
    agenda: Agenda, moment: object, fired: list[str], note: str | None
) -> None:
    await agenda.put(catchup=Catchup.LATEST)

    assert await agenda.decision_at(moment) == Decision.FIRED  # type: ignore[arg-type]

    row = await agenda.get()
    assert await agenda.fired() == fired
    assert row.last_note == note
    (job,) = await agenda.jobs()
    assert job.ready
    assert row.last_run_at == job.cron_fire_at


async def test_latest_is_the_default(agenda: Agenda) -> None:
    await agenda.put()
    await agenda.tick_at("12:05")

    assert await agenda.fired() == ["12:00"]


async def test_latest_gives_up_what_is_older_than_its_window(agenda: Agenda) -> None:
    await agenda.put("0 9 * * *", catchup=Catchup.LATEST, catchup_window_seconds=3 * 3_600)

    assert await agenda.decision_at("12:00:01") == Decision.MISSED
    assert (await agenda.get()).last_note == "missed 1 fire time from 2026-03-02 09:00 UTC on"
    assert await agenda.decision_at(at("12:00") + days(1)) == Decision.FIRED, "to the second"


async def test_all_makes_a_job_for_each(agenda: Agenda) -> None:
    await agenda.put(catchup=Catchup.ALL)

    ticked = await agenda.tick_at("12:05")

    assert await agenda.fired() == ["09:00", "10:00", "11:00", "12:00"]
    jobs = await agenda.jobs()
    assert ticked.job_ids == [job.id for job in jobs]
    assert [job.scheduled_for for job in jobs] == [job.cron_fire_at for job in jobs]
    assert all(job.ready for job in jobs)
    row = await agenda.get()
    assert (row.last_job_id, row.last_run_at) == (jobs[-1].id, at("12:00"))
    assert row.last_note is None


async def test_all_looks_no_further_back_than_its_window(agenda: Agenda) -> None:
    await agenda.put("0 */6 * * *", catchup=Catchup.ALL, catchup_window_seconds=86_400)

    await agenda.tick_at(WEEK_LATER)

    assert await agenda.fired() == ["08 18:00", "09 00:00", "09 06:00", "09 12:00"]
    row = await agenda.get()
    assert row.last_note == "missed 25 fire times from 2026-03-02 12:00 UTC on"


async def test_all_makes_the_newest_where_there_are_more_than_its_limit(agenda: Agenda) -> None:
    await agenda.put(catchup=Catchup.ALL, catchup_limit=2)

    await agenda.tick_at("12:05")

    assert await agenda.fired() == ["11:00", "12:00"]
    assert (await agenda.get()).last_note == "missed 2 fire times from 2026-03-02 09:00 UTC on"


async def test_all_without_a_window_goes_back_as_far_as_it_must(agenda: Agenda) -> None:
    await agenda.put("0 9 1 * *", catchup=Catchup.ALL, catchup_window_seconds=None)

    await agenda.tick_at(at("09:00") + days(365))

    assert len(await agenda.fired()) == 12
    assert (await agenda.get()).last_note is None


async def test_window_shorter_than_ninety_seconds_loses_nothing_that_is_on_time(
    agenda: Agenda,
) -> None:
    await agenda.put(catchup_window_seconds=5)

    assert await agenda.decision_at("11:00:30") == Decision.FIRED
    assert await agenda.fired() == ["11:00"]


async def test_many_thousand_that_were_missed_are_not_counted_one_by_one(agenda: Agenda) -> None:
    await agenda.put("* * * * *", catchup=Catchup.NONE)

    assert await agenda.decision_at(at("12:00:30") + days(365)) == Decision.FIRED

    row = await agenda.get()
    assert row.last_note == "missed at least 1000 fire times from 2026-03-02 08:01 UTC on"


async def test_thousands_of_jobs_are_made_up_for_in_one_tick(agenda: Agenda) -> None:
    options = {"catchup_window_seconds": None, "catchup_limit": 2_500}
    await agenda.put("* * * * *", catchup=Catchup.ALL, **options)

    ticked = await agenda.tick_at(at("08:00") + days(2))

    assert len(ticked.job_ids) == len(set(await agenda.fired())) == 2_500


async def test_what_was_made_up_for_already_is_not_made_twice(agenda: Agenda) -> None:
    record = await agenda.put(catchup=Catchup.ALL)
    agenda.clock.value = at("12:05")
    await agenda.schedules.backfill(record, [at("10:00"), at("12:00")])

    assert await agenda.decision_at("12:05") == Decision.DEDUPLICATED

    assert await agenda.fired() == ["09:00", "10:00", "11:00", "12:00"]


# ── what isn't downtime ──────────────────────────────────────────────────────────────────────


async def test_new_schedule_never_fires_for_the_past(agenda: Agenda) -> None:
    agenda.clock.value = at("09:00")
    await agenda.put(catchup=Catchup.ALL, starts_at=at("08:00") - days(30))

    await agenda.tick_at("09:30")
    await agenda.tick_at("10:00")

    assert await agenda.fired() == ["10:00"]


async def test_time_in_which_it_was_disabled_is_not_made_up_for(agenda: Agenda) -> None:
    await agenda.put(catchup=Catchup.ALL)
    await agenda.schedules.set_enabled(NAME, False)
    await agenda.tick_at("11:30")
    await agenda.schedules.set_enabled(NAME, True)

    await agenda.tick_at("11:31")
    await agenda.tick_at("12:00")

    assert await agenda.fired() == ["12:00"]


@pytest.mark.parametrize(
    "change",
    [
        {"expression": "30 * * * *"},
        {"time_zone": "Asia/Kolkata"},
        {"starts_at": at("08:00")},
        {"ends_at": at("20:00")},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_other_times_hold_from_now_on(agenda: Agenda, change: dict[str, object]) -> None:
    """Their past isn't this schedule's: it never promised to fire then."""
    await agenda.put(catchup=Catchup.ALL)
    agenda.clock.value = at("11:45")
    await agenda.put(catchup=Catchup.ALL, **change)

    await agenda.tick_at("11:46")

    assert await agenda.fired() == []
    await agenda.tick_at("12:45")
    assert len(await agenda.fired()) == 1


async def test_change_that_leaves_the_times_alone_loses_none(agenda: Agenda) -> None:
    await agenda.put(catchup=Catchup.ALL)
    agenda.clock.value = at("10:30")
    await agenda.put(catchup=Catchup.ALL, params='{"to": "everybody"}')

    await agenda.tick_at("10:31")

    assert await agenda.fired() == ["09:00", "10:00"]
    assert {job.params.replace(" ", "") for job in await agenda.jobs()} == {'{"to":"everybody"}'}
