"""Who defines schedules, who may change them, and what a person may ask of them."""

import logging
from dataclasses import fields

import pytest

from server_jobs.errors import InvalidScheduleError, ScheduleNotFoundError
from server_jobs.records.status import JobStatus
from server_jobs.schedules import Decision, Overlap, Schedule
from server_jobs.schedules.declare import synchronise
from server_jobs.schedules.schedule import NEVER
from tests.support.drills.agenda import NAME, START, Agenda, at, days, schedule

LOG = "server_jobs.scheduler"


# ── put ──────────────────────────────────────────────────────────────────────────────────────


async def test_definition_is_kept_whole(agenda: Agenda) -> None:
    wanted = Schedule(
        name="Zoë's report",
        job_name="Report",
        cron_expression="H 9 * * 1-5",
        time_zone="Europe/Zurich",
        params='{"to":"Zoë"}',
        queue="mail",
        priority=-3,
        enabled=False,
        overlap="queue",
        catchup="all",
        catchup_window_seconds=None,
        catchup_limit=7,
        jitter_seconds=2.5,
        starts_at=at("12:00"),
        ends_at=at("12:00") + days(30),
        max_attempts=9,
        timeout_seconds=12.5,
        retry_policy='{"kind":"fixed"}',
        runtime='{"resources":{}}',
        managed_by="code:shop",
    )

    record = await agenda.schedules.put(wanted)

    same = {field.name for field in fields(Schedule)} - {"params", "retry_policy", "runtime"}
    assert {name: getattr(record, name) for name in same} == {
        name: getattr(wanted, name) for name in same
    }
    for name in ("params", "retry_policy", "runtime"):
        assert getattr(record, name).replace(" ", "") == getattr(wanted, name)
    assert (record.created_at, record.updated_at) == (START, START)
    assert record.next_run_at is not None
    assert record.next_run_at > at("12:00")


async def test_same_definition_again_changes_nothing(agenda: Agenda) -> None:
    before = await agenda.put(params='{"b": 1, "a": [1, 2]}', retry_policy='{"kind": "none"}')
    agenda.clock.advance(60)

    again = await agenda.put(params='{"a":[1,2],"b":1}', retry_policy='{"kind":"none"}')

    assert again == before


async def test_change_keeps_identity_and_history(agenda: Agenda) -> None:
    before = await agenda.put()
    await agenda.tick_at("09:00")

    after = await agenda.put("30 * * * *", queue="slow")

    assert (after.id, after.created_at) == (before.id, before.created_at)
    assert (after.queue, after.next_run_at, after.last_run_at) == ("slow", at("09:30"), at("09:00"))
    assert len(await agenda.schedules.list_all()) == 1


async def test_job_of_a_changed_schedule_follows_the_change(agenda: Agenda) -> None:
    await agenda.put(queue="slow")
    await agenda.put(queue="fast")
    await agenda.tick_at("09:00")

    (job,) = await agenda.jobs()
    assert job.queue == "fast"


async def test_name_that_another_source_has_is_refused(agenda: Agenda) -> None:
    await agenda.put(managed_by="code:shop")

    with pytest.raises(InvalidScheduleError, match="taken by one that code:shop manages; give it"):
        await agenda.put("30 * * * *", managed_by="cli")

    assert (await agenda.get()).cron_expression == "0 * * * *"


async def test_switch_stays_when_the_definition_changes(agenda: Agenda) -> None:
    await agenda.put()
    await agenda.schedules.set_enabled(NAME, False)

    assert not (await agenda.put(queue="slow", enabled=True)).enabled

    await agenda.schedules.set_enabled(NAME, True)
    assert (await agenda.put(queue="fast", enabled=False)).enabled


async def test_ended_schedule_that_is_given_more_time_goes_on(agenda: Agenda) -> None:
    await agenda.put(ends_at=at("09:30"))
    await agenda.tick_at("09:00")
    assert (await agenda.get()).next_run_at == NEVER
    agenda.clock.value = at("11:30")
    await agenda.put(ends_at=at("12:30"))

    await agenda.tick_at("12:00")

    assert await agenda.fired() == ["09:00", "12:00"]


# ── switch, remove, read ─────────────────────────────────────────────────────────────────────


async def test_turning_on_what_is_on_leaves_its_fire_time_alone(agenda: Agenda) -> None:
    """Else whoever does so just after a fire time would lose it."""
    await agenda.put()
    agenda.clock.value = at("09:00:30")

    assert (await agenda.schedules.set_enabled(NAME, True)).next_run_at == at("09:00")
    assert await agenda.decision_at("09:00:31") == Decision.FIRED


async def test_jobs_of_a_removed_schedule_stay(agenda: Agenda) -> None:
    record = await agenda.put()
    await agenda.tick_at("09:00")
    await agenda.schedules.remove(NAME)

    assert (await agenda.tick_at("10:00")).decisions == {}
    (job,) = await agenda.store.list_jobs()
    assert (job.cron_job_id, job.status) == (record.id, JobStatus.PENDING)
    assert await agenda.schedules.list_all() == []


async def test_schedule_that_there_is_not(agenda: Agenda) -> None:
    assert await agenda.schedules.find("nobody") is None
    for asked in (
        agenda.schedules.get("nobody"),
        agenda.schedules.remove("nobody"),
        agenda.schedules.run_now("nobody"),
        agenda.schedules.set_enabled("nobody", True),
    ):
        with pytest.raises(ScheduleNotFoundError, match=r"no schedule 'nobody'.*schedule list"):
            await asked


async def test_listed_by_name(agenda: Agenda) -> None:
    for name in ("b", "c", "a"):
        await agenda.put(name=name)

    assert [record.name for record in await agenda.schedules.list_all()] == ["a", "b", "c"]


async def test_live_jobs_are_those_that_have_not_ended(agenda: Agenda) -> None:
    record = await agenda.put()
    for moment in ("09:00", "10:00", "11:00"):
        await agenda.tick_at(moment)
    first = await agenda.claim()
    second = await agenda.claim()
    await agenda.complete(first)
    third = (await agenda.jobs())[2]

    assert await agenda.schedules.live_jobs(record) == {
        second.id: JobStatus.RUNNING,
        third.id: JobStatus.PENDING,
    }


# ── asked for by a person ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("enabled", [True, False])
async def test_run_now_makes_a_job_at_once_and_leaves_the_fire_times_alone(
    agenda: Agenda, *, enabled: bool
) -> None:
    record = await agenda.put(queue="mail", params='{"a": 1}', jitter_seconds=600, enabled=enabled)
    agenda.clock.value = at("08:17")

    job_id = await agenda.schedules.run_now(NAME)

    (job,) = await agenda.jobs()
    assert (job.id, job.cron_fire_at, job.queue) == (job_id, None, "mail")
    assert (job.ready, job.scheduled_for) == (True, at("08:17"))
    assert await agenda.get() == record


async def test_run_now_takes_no_heed_of_what_it_overlaps_with(agenda: Agenda) -> None:
    for overlap in Overlap:
        await agenda.put(name=overlap, overlap=overlap)
        await agenda.schedules.run_now(overlap)
        await agenda.schedules.run_now(overlap)

        assert await agenda.statuses(overlap) == [JobStatus.PENDING] * 2


async def test_backfill_makes_jobs_of_the_past_that_are_due_now(agenda: Agenda) -> None:
    record = await agenda.put(jitter_seconds=600, enabled=False)
    times = [at("05:00"), at("06:00")]

    made = await agenda.schedules.backfill(record, times)

    jobs = await agenda.jobs()
    assert made == {job.cron_fire_at: job.id for job in jobs}
    assert [job.cron_fire_at for job in jobs] == times
    assert all(job.ready and job.scheduled_for == START for job in jobs)
    assert await agenda.get() == record


async def test_backfill_leaves_out_what_has_its_job(agenda: Agenda) -> None:
    record = await agenda.put()
    await agenda.tick_at("09:00")
    times = [at("08:00"), at("09:00"), at("10:00")]

    assert list(await agenda.schedules.backfill(record, times)) == [at("08:00"), at("10:00")]
    assert await agenda.schedules.backfill(record, times) == {}
    assert await agenda.decision_at("10:00") == Decision.DEDUPLICATED
    assert await agenda.fired() == ["08:00", "09:00", "10:00"]


async def test_backfill_of_thousands(agenda: Agenda) -> None:
    record = await agenda.put()
    times = [START - days(1 / 1440) * minute for minute in range(2_100)]

    made = await agenda.schedules.backfill(record, times)

    assert sorted(made) == sorted(times)
    assert len(set(made.values())) == 2_100


# ── declared in code ─────────────────────────────────────────────────────────────────────────


def declared(name: str, expression: str = "0 * * * *", source: str = "code:shop") -> Schedule:
    return schedule(expression, name, managed_by=source)


async def enabled_names(agenda: Agenda) -> list[str]:
    return [record.name for record in await agenda.schedules.list_all() if record.enabled]


async def test_declared_schedules_are_written_and_followed(agenda: Agenda) -> None:
    await synchronise(agenda.schedules, [declared("a"), declared("b")], source="code:shop")
    await synchronise(agenda.schedules, [declared("a", "5 * * * *")], source="code:shop")

    assert (await agenda.get("a")).cron_expression == "5 * * * *"
    assert await enabled_names(agenda) == ["a", "b"], "nothing is disabled unless it is asked for"


async def test_pruning_disables_what_this_source_alone_no_longer_declares(
    agenda: Agenda, caplog: pytest.LogCaptureFixture
) -> None:
    for name, source in [("kept", "code:shop"), ("gone", "code:shop"), ("by-hand", "cli")]:
        await agenda.schedules.put(declared(name, source=source))
    await agenda.schedules.put(declared("others", source="code:shop-2"))

    with caplog.at_level(logging.WARNING, LOG):
        await synchronise(agenda.schedules, [declared("kept")], source="code:shop", prune=True)

    assert await enabled_names(agenda) == ["by-hand", "kept", "others"]
    assert caplog.messages == ["schedule gone is no longer declared by code:shop: disabled"]
    assert await agenda.schedules.prune("code:shop", ["kept"]) == [], "once"


async def test_app_that_declares_nothing_any_more_prunes_all_it_had(agenda: Agenda) -> None:
    await agenda.schedules.put(declared("gone"))
    await agenda.put()

    await synchronise(agenda.schedules, [], source="code:shop", prune=True)

    assert await enabled_names(agenda) == [NAME]


async def test_taken_name_is_an_error_in_the_log_and_the_rest_is_written(
    agenda: Agenda, caplog: pytest.LogCaptureFixture
) -> None:
    await agenda.put(name="a")
    both = [declared("a", "5 * * * *"), declared("b")]

    with caplog.at_level(logging.ERROR, LOG):
        await synchronise(agenda.schedules, both, source="code:shop", prune=True)

    assert (await agenda.get("a")).cron_expression == "0 * * * *"
    assert await enabled_names(agenda) == ["a", "b"]
    (message,) = caplog.messages
    assert message.startswith("schedule 'a': the name is taken by one that cli manages")


async def test_declaring_does_not_turn_on_what_a_person_turned_off(
    agenda: Agenda, caplog: pytest.LogCaptureFixture
) -> None:
    await synchronise(agenda.schedules, [declared("a")], source="code:shop")
    await agenda.schedules.set_enabled("a", False)

    with caplog.at_level(logging.INFO, LOG):
        await synchronise(agenda.schedules, [declared("a")], source="code:shop")

    assert await enabled_names(agenda) == []
    assert caplog.messages == ["schedule a is disabled"]
