"""The database's clock is set: forward, and back again."""

import logging

import pytest

from server_jobs.records.status import JobStatus
from server_jobs.schedules import Catchup, Decision
from server_jobs.schedules.scheduler import Scheduler
from tests.support.drills.agenda import NAME, Agenda, at, days

LOG = "server_jobs.scheduler"


@pytest.fixture(params=["same-process", "new-process"])
def scheduler_after(request: pytest.FixtureRequest, agenda: Agenda) -> Scheduler:
    """Who sees the clock that was set back: who has seen it before it was, or somebody new."""
    return agenda.scheduler if request.param == "same-process" else Scheduler(agenda.schedules)


async def test_hour_forward_is_an_hour_of_downtime(agenda: Agenda) -> None:
    await agenda.put("*/20 * * * *", "latest")
    await agenda.put("*/20 * * * *", "all", catchup=Catchup.ALL)
    await agenda.tick_at("08:20")

    await agenda.tick_at("09:25")

    assert await agenda.fired("latest") == ["08:20", "09:20"]
    assert await agenda.fired("all") == ["08:20", "08:40", "09:00", "09:20"]


@pytest.mark.parametrize("jump", [1 / 24, 1, 30], ids=["hour", "day", "month"])
async def test_clock_that_comes_back_finds_its_schedules_again(
    agenda: Agenda, scheduler_after: Scheduler, jump: float
) -> None:
    await agenda.put("*/20 * * * *")
    await agenda.tick_at("08:20")
    await agenda.tick_at(at("08:25") + days(jump))  # fires what the jump missed

    agenda.scheduler = scheduler_after
    for moment in ("08:26", "08:40", "09:00"):
        await agenda.tick_at(moment)

    assert [time for time in await agenda.fired() if " " not in time][:3] == [
        "08:20",
        "08:40",
        "09:00",
    ]


async def test_what_fired_before_the_clock_went_back_gets_no_second_job(
    agenda: Agenda, scheduler_after: Scheduler
) -> None:
    await agenda.put("*/20 * * * *")
    for moment in ("08:20", "08:40", "09:00"):
        await agenda.tick_at(moment)
    before = await agenda.jobs()

    agenda.scheduler = scheduler_after
    assert await agenda.decision_at("08:10") is None
    decisions = [
        await agenda.decision_at(moment) for moment in ("08:20", "08:40", "09:00", "09:20")
    ]

    assert decisions == [Decision.DEDUPLICATED] * 3 + [Decision.FIRED]
    assert await agenda.fired() == ["08:20", "08:40", "09:00", "09:20"]
    assert [job.id for job in await agenda.jobs()][:3] == [job.id for job in before]


async def test_going_back_cancels_no_job_that_runs(
    agenda: Agenda, scheduler_after: Scheduler
) -> None:
    await agenda.put("*/20 * * * *", overlap="replace")
    await agenda.tick_at("08:20")
    await agenda.claim()

    agenda.scheduler = scheduler_after
    await agenda.tick_at("08:10")
    assert await agenda.decision_at("08:20") == Decision.DEDUPLICATED

    (job,) = await agenda.jobs()
    assert (job.status, job.cancel_requested_at) == (JobStatus.RUNNING, None)


async def test_clock_that_went_back_is_told_of_once(
    agenda: Agenda, caplog: pytest.LogCaptureFixture
) -> None:
    await agenda.put("*/20 * * * *")
    await agenda.tick_at(at("08:30") + days(1))
    caplog.clear()

    with caplog.at_level(logging.WARNING, LOG):
        for moment in ("08:30", "08:31", "08:32"):
            await agenda.tick_at(moment)
        await Scheduler(agenda.schedules).tick()

    assert caplog.messages == ["the clock was set back: 1 schedule follows it"]
    assert (await agenda.get()).last_note == "the clock was set back"


async def test_clock_that_went_back_by_seconds_is_nothing_to_speak_of(
    agenda: Agenda, caplog: pytest.LogCaptureFixture
) -> None:
    await agenda.put("*/20 * * * *")
    await agenda.tick_at("08:20:30")

    with caplog.at_level(logging.INFO, LOG):
        await agenda.tick_at("08:19:50")
        await agenda.tick_at("08:20")

    assert caplog.messages == []
    assert await agenda.fired() == ["08:20"]


async def test_schedule_that_is_due_all_the_same_stays_so(agenda: Agenda) -> None:
    """It waits for its job since before the clock was set, and shall not forget for what."""
    await agenda.put("0 * * * *", overlap="queue")
    await agenda.tick_at("09:00")
    job = await agenda.claim()
    await agenda.tick_at("12:00")
    await agenda.complete(job)

    assert await agenda.decision_at("10:30") == Decision.FIRED
    assert await agenda.fired() == ["09:00", "10:00"]


async def test_disabled_schedules_and_ended_ones_dont_come_back(agenda: Agenda) -> None:
    await agenda.put(name="disabled")
    await agenda.put(name="ended", ends_at=at("08:30"))
    await agenda.tick_at(at("08:00") + days(1))
    await agenda.schedules.set_enabled("disabled", False)

    await agenda.tick_at("08:10")
    ticked = await agenda.tick_at("09:00")

    assert ticked.decisions == {}
    assert await agenda.fired("ended") == []


async def test_broken_schedule_is_looked_at_again_by_the_clock_there_is(agenda: Agenda) -> None:
    await agenda.put()
    await agenda.sql("UPDATE cron_jobs SET cron_expression = 'nonsense'")
    await agenda.tick_at(at("08:30") + days(1))
    await agenda.tick_at("08:30")
    await agenda.sql("UPDATE cron_jobs SET cron_expression = '0 * * * *'")

    await agenda.tick_at("08:31")
    assert await agenda.decision_at("09:00") == Decision.FIRED
    assert (await agenda.tick_at("09:00")).decisions.get(NAME) is None
