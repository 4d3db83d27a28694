"""What happens at a fire time while an earlier job of the schedule hasn't ended."""

import logging

import pytest

from server_jobs.records.outcomes import Abandoned, Completed, Failed
from server_jobs.records.status import JobStatus
from server_jobs.schedules import Catchup, Decision, Overlap
from server_jobs.schedules.scheduler import Scheduler
from tests.support.drills.agenda import NAME, Agenda, at, days
from tests.support.scene import error

LOG = "server_jobs.scheduler"


async def firing_once(agenda: Agenda, overlap: str, **options: object) -> None:
    """A schedule of every ten minutes whose job of nine o'clock is pending."""
    await agenda.put("*/10 9-23 * * *", overlap=overlap, **options)
    assert await agenda.decision_at("09:00") == Decision.FIRED


@pytest.mark.parametrize("overlap", list(Overlap))
async def test_job_that_has_ended_is_in_nobodys_way(agenda: Agenda, overlap: str) -> None:
    await firing_once(agenda, overlap)
    await agenda.complete(await agenda.claim())

    assert await agenda.decision_at("09:10") == Decision.FIRED

    assert await agenda.fired() == ["09:00", "09:10"]
    assert await agenda.statuses() == [JobStatus.COMPLETED, JobStatus.PENDING]


async def test_allow_makes_one_beside_the_other(agenda: Agenda) -> None:
    await firing_once(agenda, "allow")
    await agenda.claim()

    assert await agenda.decision_at("09:10") == Decision.FIRED

    assert await agenda.statuses() == [JobStatus.RUNNING, JobStatus.PENDING]


# ── skip ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("running", [False, True], ids=["pending", "running"])
async def test_skip_leaves_the_fire_time_out_and_says_so(
    agenda: Agenda, caplog: pytest.LogCaptureFixture, *, running: bool
) -> None:
    await firing_once(agenda, "skip")
    if running:
        await agenda.claim()

    with caplog.at_level(logging.INFO, LOG):
        assert await agenda.decision_at("09:10") == Decision.SKIPPED

    row = await agenda.get()
    assert await agenda.fired() == ["09:00"]
    assert (row.last_decision, row.last_run_at) == (Decision.SKIPPED, at("09:10"))
    assert row.next_run_at == at("09:20")
    (job,) = await agenda.jobs()
    assert row.last_job_id == job.id
    expected = "schedule report: skipped 2026-03-02 09:10 UTC: an earlier job of it hasn't ended"
    assert expected in caplog.messages


async def test_what_was_skipped_is_not_made_up_for(agenda: Agenda) -> None:
    await firing_once(agenda, "skip")
    job = await agenda.claim()
    await agenda.tick_at("09:10")
    await agenda.complete(job)

    assert await agenda.decision_at("09:11") is None
    assert await agenda.decision_at("09:20") == Decision.FIRED
    assert await agenda.fired() == ["09:00", "09:20"]


async def test_skip_after_a_retry_that_waits_still_skips(agenda: Agenda) -> None:
    """Between two attempts a job is pending: it hasn't ended."""
    await firing_once(agenda, "skip")
    job = await agenda.claim()
    await agenda.store.settle({job.claim: Failed(error(), delay_seconds=3_600)})

    assert await agenda.decision_at("09:10") == Decision.SKIPPED


# ── queue ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("running", [False, True], ids=["pending", "running"])
async def test_queue_waits_and_fires_as_soon_as_the_job_ends(
    agenda: Agenda, *, running: bool
) -> None:
    await firing_once(agenda, "queue")
    job = await agenda.claim() if running else None
    assert await agenda.decision_at("09:10") == Decision.WAITING
    assert await agenda.fired() == ["09:00"]

    await agenda.complete(job or await agenda.claim())

    assert await agenda.decision_at("09:14") == Decision.FIRED
    _, second = await agenda.jobs()
    assert (second.cron_fire_at, second.scheduled_for) == (at("09:10"), at("09:10"))
    assert second.ready
    assert (await agenda.get()).next_run_at == at("09:20")


async def test_waiting_is_told_of_once_and_then_not_read_any_more(
    agenda: Agenda, caplog: pytest.LogCaptureFixture
) -> None:
    await firing_once(agenda, "queue")

    with caplog.at_level(logging.INFO, LOG):
        for moment in ("09:10", "09:11", "09:20", "09:30"):
            await agenda.tick_at(moment)
            assert await agenda.schedules.due(at(moment)) == []

    expected = "schedule report: 2026-03-02 09:10 UTC waits: an earlier job of it hasn't ended"
    assert caplog.messages == [expected]


async def test_fire_times_that_wait_collapse_into_the_newest(agenda: Agenda) -> None:
    await firing_once(agenda, "queue")
    job = await agenda.claim()
    for moment in ("09:10", "09:20", "09:30"):
        await agenda.tick_at(moment)
    await agenda.complete(job)

    assert await agenda.decision_at("09:31") == Decision.FIRED

    assert await agenda.fired() == ["09:00", "09:30"]
    row = await agenda.get()
    assert (row.next_run_at, row.last_note) == (at("09:40"), None)
    assert await agenda.decision_at("09:32") is None


@pytest.mark.parametrize(
    "outcome",
    [Completed("null"), Failed(error(), permanent=True), Abandoned("asked to")],
    ids=["completed", "failed", "cancelled"],
)
async def test_queue_does_not_mind_how_the_job_ended(
    agenda: Agenda, outcome: Completed | Failed | Abandoned
) -> None:
    await firing_once(agenda, "queue")
    job = await agenda.claim()
    await agenda.tick_at("09:10")
    await agenda.store.settle({job.claim: outcome})

    assert await agenda.decision_at("09:11") == Decision.FIRED


async def test_queue_waits_for_all_live_jobs(agenda: Agenda) -> None:
    await firing_once(agenda, "queue")
    await agenda.schedules.run_now(NAME)
    first = await agenda.claim()
    second = await agenda.claim()
    await agenda.complete(first)

    assert await agenda.decision_at("09:10") == Decision.WAITING
    await agenda.complete(second)
    assert await agenda.decision_at("09:11") == Decision.FIRED


async def test_others_fire_while_one_waits(agenda: Agenda) -> None:
    await firing_once(agenda, "queue")
    await agenda.put("*/10 * * * *", "other", overlap="queue")

    ticked = await agenda.tick_at("09:10")

    assert ticked.decisions == {NAME: Decision.WAITING, "other": Decision.FIRED}


async def test_waiting_schedule_that_is_disabled_does_not_fire(agenda: Agenda) -> None:
    await firing_once(agenda, "queue")
    job = await agenda.claim()
    await agenda.tick_at("09:10")
    await agenda.schedules.set_enabled(NAME, False)
    await agenda.complete(job)

    assert await agenda.decision_at("09:11") is None
    assert await agenda.fired() == ["09:00"]


# ── replace ──────────────────────────────────────────────────────────────────────────────────


async def test_replace_cancels_a_pending_job_and_fires_in_the_same_tick(
    agenda: Agenda, caplog: pytest.LogCaptureFixture
) -> None:
    await firing_once(agenda, "replace")
    (first,) = await agenda.jobs()

    with caplog.at_level(logging.INFO, LOG):
        assert await agenda.decision_at("09:10") == Decision.FIRED

    assert await agenda.fired() == ["09:00", "09:10"]
    assert await agenda.statuses() == [JobStatus.CANCELLED, JobStatus.PENDING]
    assert f"job {first.id}: cancelled, schedule report replaces it" in caplog.messages


async def test_replace_asks_a_running_job_to_stop_and_fires_once_it_has(agenda: Agenda) -> None:
    await firing_once(agenda, "replace")
    job = await agenda.claim()

    assert await agenda.decision_at("09:10") == Decision.WAITING
    (running,) = await agenda.jobs()
    assert (running.status, running.cancel_requested_at) == (JobStatus.RUNNING, at("09:10"))

    await agenda.store.settle({job.claim: Abandoned("asked to")})
    assert await agenda.decision_at("09:10:02") == Decision.FIRED
    assert await agenda.fired() == ["09:00", "09:10"]
    assert await agenda.statuses() == [JobStatus.CANCELLED, JobStatus.PENDING]


async def test_job_that_does_not_stop_is_replaced_by_the_newest_fire_time(agenda: Agenda) -> None:
    await firing_once(agenda, "replace")
    job = await agenda.claim()
    for moment in ("09:10", "09:20", "09:30"):
        await agenda.tick_at(moment)
    await agenda.complete(job)

    assert await agenda.decision_at("09:31") == Decision.FIRED

    assert await agenda.fired() == ["09:00", "09:30"]
    assert await agenda.statuses() == [JobStatus.COMPLETED, JobStatus.PENDING]


async def test_replace_leaves_other_schedules_jobs_alone(agenda: Agenda) -> None:
    await firing_once(agenda, "replace")
    await agenda.put("*/10 * * * *", "other", overlap="allow")
    await agenda.tick_at("09:10")
    await agenda.tick_at("09:20")

    assert await agenda.statuses("other") == [JobStatus.PENDING] * 2


async def test_fire_time_that_was_missed_replaces_nothing(agenda: Agenda) -> None:
    """No job comes of it, so that the one that runs would end for nothing."""
    await firing_once(agenda, "replace", catchup=Catchup.NONE)
    await agenda.claim()

    assert await agenda.decision_at("09:15") == Decision.MISSED

    (running,) = await agenda.jobs()
    assert (running.status, running.cancel_requested_at) == (JobStatus.RUNNING, None)


async def test_fire_time_that_has_its_job_already_replaces_nothing(agenda: Agenda) -> None:
    """After a clock was set back, say: the job that runs is the one of this very fire time."""
    await firing_once(agenda, "replace")
    await agenda.claim()
    await agenda.sql(f"UPDATE cron_jobs SET next_run_at = '{agenda.stamp(at('09:00'))}'")

    assert await agenda.decision_at("09:01") == Decision.DEDUPLICATED

    (running,) = await agenda.jobs()
    assert (running.status, running.cancel_requested_at) == (JobStatus.RUNNING, None)
    assert (await agenda.get()).next_run_at == at("09:10")


# ── with other rules ─────────────────────────────────────────────────────────────────────────


async def test_job_that_somebody_asked_for_counts_as_an_earlier_one(agenda: Agenda) -> None:
    for overlap in Overlap:
        await agenda.put(name=overlap, overlap=overlap)
        await agenda.schedules.run_now(overlap)

    ticked = await agenda.tick_at("09:00")

    assert ticked.decisions == {
        "allow": Decision.FIRED,
        "skip": Decision.SKIPPED,
        "queue": Decision.WAITING,
        "replace": Decision.FIRED,
    }
    assert JobStatus.CANCELLED in await agenda.statuses("replace")


@pytest.mark.parametrize("overlap", ["skip", "queue", "replace"])
async def test_jobs_that_must_not_overlap_are_not_caught_up_with_in_a_crowd(
    agenda: Agenda, overlap: str
) -> None:
    await agenda.put("*/10 * * * *", overlap=overlap, catchup=Catchup.ALL)

    assert await agenda.decision_at("11:05") == Decision.FIRED

    assert await agenda.fired() == ["11:00"]
    assert (await agenda.get()).last_note == "missed 17 fire times from 2026-03-02 08:10 UTC on"


@pytest.mark.parametrize("catchup", list(Catchup))
async def test_what_waited_for_a_job_was_not_missed(agenda: Agenda, catchup: str) -> None:
    await firing_once(agenda, "queue", catchup=catchup)
    job = await agenda.claim()
    await agenda.tick_at("09:10")
    await agenda.complete(job)

    assert await agenda.decision_at("09:35") == Decision.FIRED

    assert await agenda.fired() == ["09:00", "09:30"]
    assert (await agenda.get()).last_note is None


async def test_missed_fire_time_does_not_wait_to_be_made_up_for(agenda: Agenda) -> None:
    """What ``catchup="none"`` gives up isn't brought back by a job that is in its way."""
    await firing_once(agenda, "queue", catchup=Catchup.NONE)
    job = await agenda.claim()

    assert await agenda.decision_at("09:15") == Decision.MISSED
    await agenda.complete(job)
    assert await agenda.decision_at("09:16") is None
    assert await agenda.fired() == ["09:00"]


@pytest.mark.parametrize("again", ["enabled", "retimed"])
async def test_schedule_that_begins_anew_has_stopped_waiting(agenda: Agenda, again: str) -> None:
    """Else the next thing it misses would be taken for one that waited."""
    options = {"overlap": "queue", "catchup": Catchup.NONE}
    await firing_once(agenda, **options)
    job = await agenda.claim()
    await agenda.tick_at("09:10")
    if again == "enabled":
        await agenda.schedules.set_enabled(NAME, False)
        await agenda.schedules.set_enabled(NAME, True)
    else:
        await agenda.put("*/20 * * * *", **options)
    await agenda.complete(job)

    assert (await agenda.get()).last_decision is None
    assert await agenda.decision_at(at("09:25") + days(1)) == Decision.MISSED


async def test_overlap_that_is_changed_while_it_waits_holds_at_once(agenda: Agenda) -> None:
    await firing_once(agenda, "queue")
    await agenda.claim()
    await agenda.tick_at("09:10")
    await agenda.put("*/10 9-23 * * *", overlap="allow")

    assert await agenda.decision_at("09:11") == Decision.FIRED
    assert await agenda.fired() == ["09:00", "09:10"]


async def test_second_scheduler_sees_a_schedule_that_waits_as_the_first_does(
    agenda: Agenda,
) -> None:
    await firing_once(agenda, "queue")
    await agenda.tick_at("09:10")

    other = Scheduler(agenda.schedules)
    assert (await other.tick()).decisions == {}
    await agenda.complete(await agenda.claim())
    assert (await other.tick()).decisions == {NAME: Decision.FIRED}
    assert (await agenda.scheduler.tick()).decisions == {}
