"""Each fire time makes one job, and every schedule that is due gets its turn."""

import json
import logging
from datetime import datetime, timedelta

import pytest
from uuid6 import uuid7

from server_jobs.records.rows import JobRecord
from server_jobs.records.status import JobStatus
from server_jobs.schedules import Decision, ScheduleRecord, ScheduleStore
from server_jobs.schedules.schedule import NEVER
from server_jobs.schedules.scheduler import Scheduler
from server_jobs.schedules.store import DUE_LIMIT
from tests.support.drills.agenda import JOB, NAME, START, Agenda, at, days, schedule


async def only_job(agenda: Agenda) -> JobRecord:
    (job,) = await agenda.jobs()
    return job


async def test_job_gets_all_that_the_schedule_says(agenda: Agenda) -> None:
    runtime = {"resources": {"limits": {"memory": "1Gi"}}}
    record = await agenda.put(
        params='{"to": "Zoë", "large": 9007199254740993}',
        queue="mail",
        priority=-3,
        max_attempts=7,
        timeout_seconds=12.5,
        retry_policy='{"kind": "fixed", "delay": 3}',
        runtime=json.dumps(runtime),
    )

    await agenda.tick_at("09:00")

    job = await only_job(agenda)
    assert (job.job_name, job.queue, job.priority) == (JOB, "mail", -3)
    assert json.loads(job.params) == {"to": "Zoë", "large": 9007199254740993}
    assert (job.max_attempts, job.timeout_seconds) == (7, 12.5)
    assert json.loads(job.retry_policy or "") == {"kind": "fixed", "delay": 3}
    assert json.loads(job.runtime or "") == runtime
    assert (job.cron_job_id, job.cron_fire_at) == (record.id, at("09:00"))
    assert (job.status, job.ready, job.scheduled_for) == (JobStatus.PENDING, True, at("09:00"))
    assert (job.attempt_count, job.fence, job.unique_key) == (0, 0, None)
    assert job.created_at == job.updated_at == at("09:00")


async def test_tick_says_what_it_made_and_the_row_keeps_it(agenda: Agenda) -> None:
    await agenda.put()

    ticked = await agenda.tick_at("09:00:05")

    job = await only_job(agenda)
    assert ticked.job_ids == [job.id]
    assert ticked.decisions == {NAME: Decision.FIRED}
    row = await agenda.get()
    assert (row.last_run_at, row.next_run_at) == (at("09:00"), at("10:00"))
    assert (row.last_job_id, row.last_decision, row.last_note) == (job.id, Decision.FIRED, None)


async def test_nothing_is_made_before_its_time_nor_twice(agenda: Agenda) -> None:
    await agenda.put()

    for moment in ("08:00", "08:59:59", "09:00", "09:00", "09:00:01", "09:59:59", "10:00"):
        await agenda.tick_at(moment)

    assert await agenda.fired() == ["09:00", "10:00"]


async def test_other_schedulers_find_nothing_left(agenda: Agenda) -> None:
    await agenda.put()
    await agenda.tick_at("09:00")

    assert (await Scheduler(agenda.schedules).tick()).decisions == {}
    assert await agenda.fired() == ["09:00"]


async def test_fire_times_within_a_late_tick_are_all_made(agenda: Agenda) -> None:
    await agenda.put("* * * * *")
    await agenda.tick_at("08:01")

    ticked = await agenda.tick_at("08:03:29")

    assert await agenda.fired() == ["08:01", "08:02", "08:03"]
    assert len(ticked.job_ids) == 2
    assert (await agenda.get()).last_note is None


async def test_zone_of_the_schedule_says_when(agenda: Agenda) -> None:
    await agenda.put("30 10 * * *", time_zone="Europe/Zurich")

    await agenda.tick_at("10:00")

    assert await agenda.fired() == ["09:30"]
    assert (await agenda.get()).next_run_at == at("09:30") + days(1)


# ── jitter ───────────────────────────────────────────────────────────────────────────────────


async def test_jitter_puts_jobs_off_within_its_bounds_and_differently(agenda: Agenda) -> None:
    for number in range(40):
        await agenda.put(name=f"report-{number}", jitter_seconds=600)

    await agenda.tick_at("09:00")

    jobs = [job for number in range(40) for job in await agenda.jobs(f"report-{number}")]
    delays = {(job.scheduled_for - at("09:00")).total_seconds() for job in jobs}
    assert len(jobs) == 40
    assert all(job.cron_fire_at == at("09:00") for job in jobs)
    assert min(delays) >= 0
    assert max(delays) <= 600
    assert max(delays) - min(delays) > 300, "forty of them are spread"
    assert not any(job.ready for job in jobs if job.scheduled_for > at("09:00"))


async def test_jitter_of_a_fire_time_is_the_same_whoever_asks(agenda: Agenda) -> None:
    record = await agenda.put(jitter_seconds=600)
    await agenda.tick_at("09:00")
    await agenda.tick_at("10:00")
    nine, ten = await agenda.jobs()

    again = schedule(jitter_seconds=600)
    assert nine.scheduled_for == at("09:00") + again.delay_of(at("09:00"))
    assert ten.scheduled_for == at("10:00") + record.delay_of(at("10:00"))
    assert nine.scheduled_for - at("09:00") != ten.scheduled_for - at("10:00")


async def test_job_that_jitter_puts_off_becomes_due(agenda: Agenda) -> None:
    await agenda.put(jitter_seconds=600)
    await agenda.tick_at("09:00")
    due = (await only_job(agenda)).scheduled_for

    agenda.clock.value = due - timedelta(milliseconds=1)
    await agenda.store.stage()
    assert not (await only_job(agenda)).ready
    agenda.clock.value = due
    await agenda.store.stage()
    assert (await only_job(agenda)).ready


# ── beginning and end ────────────────────────────────────────────────────────────────────────


async def test_first_moment_counts_and_the_end_does_not(agenda: Agenda) -> None:
    await agenda.put(starts_at=at("10:00"), ends_at=at("12:00"))

    for moment in ("09:00", "10:00", "11:00", "12:00", "13:00"):
        await agenda.tick_at(moment)

    assert await agenda.fired() == ["10:00", "11:00"]


async def test_ended_schedule_is_done_with_for_ever(agenda: Agenda) -> None:
    await agenda.put(ends_at=at("09:30"))
    await agenda.tick_at("09:00")

    assert (await agenda.get()).next_run_at == NEVER
    later = START + days(36_500)
    assert (await agenda.tick_at(later)).decisions == {}
    assert await agenda.schedules.due(later) == []
    assert await agenda.fired() == ["09:00"]


async def test_last_fire_time_is_made_up_for_after_the_end(agenda: Agenda) -> None:
    await agenda.put(ends_at=at("10:30"))

    await agenda.tick_at("15:00")

    assert await agenda.fired() == ["10:00"]
    assert (await agenda.get()).next_run_at == NEVER


@pytest.mark.parametrize("change", ["ends_at = '{}'", "starts_at = '{}'"])
async def test_bounds_set_by_hand_hold_for_the_fire_time_that_is_due(
    agenda: Agenda, change: str
) -> None:
    await agenda.put()
    moment = at("08:30") if change.startswith("ends") else at("09:30")
    await agenda.sql(f"UPDATE cron_jobs SET {change.format(agenda.stamp(moment))}")

    for clock_time in ("09:00", "09:20"):
        await agenda.tick_at(clock_time)

    assert await agenda.fired() == []
    assert (await agenda.get()).last_decision is None


# ── rows that a person wrote ─────────────────────────────────────────────────────────────────


async def test_row_with_minimal_columns_fires_from_now_on(agenda: Agenda) -> None:
    await agenda.sql(
        "INSERT INTO cron_jobs (id, name, job_name, cron_expression)"
        f" VALUES ('{uuid7()}', '{NAME}', '{JOB}', '*/30 * * * *')"
    )

    assert (await agenda.tick_at("09:00")).decisions == {}
    assert await agenda.fired() == []
    assert (await agenda.get()).next_run_at == at("09:30")
    assert await agenda.decision_at("09:30") == Decision.FIRED
    job = await only_job(agenda)
    assert (job.params, job.queue, job.priority, job.max_attempts) == ("{}", "default", 0, 3)


async def test_moment_without_a_fraction_fires_once(agenda: Agenda) -> None:
    nine = agenda.stamp(at("09:00"))
    await agenda.sql(
        "INSERT INTO cron_jobs (id, name, job_name, cron_expression, next_run_at, overlap)"
        f" VALUES ('{uuid7()}', '{NAME}', '{JOB}', '0 * * * *', '{nine}', 'queue')"
    )

    await agenda.tick_at("09:00")
    await agenda.tick_at("09:00")

    assert await agenda.fired() == ["09:00"]


async def test_moment_that_the_expression_does_not_name_fires_all_the_same(agenda: Agenda) -> None:
    await agenda.put()
    await agenda.sql(f"UPDATE cron_jobs SET next_run_at = '{agenda.stamp(at('08:17'))}'")

    for moment in ("08:17", "09:00"):
        await agenda.tick_at(moment)

    assert await agenda.fired() == ["08:17", "09:00"]


async def test_next_fire_time_of_null_asks_for_one_and_makes_nothing(agenda: Agenda) -> None:
    await agenda.put()
    await agenda.tick_at("09:00")
    await agenda.sql("UPDATE cron_jobs SET next_run_at = NULL")

    assert (await agenda.tick_at(at("09:00") + days(2))).decisions == {}

    assert (await agenda.get()).next_run_at == at("10:00") + days(2)
    assert await agenda.fired() == ["09:00"]


# ── which ones ───────────────────────────────────────────────────────────────────────────────


async def test_disabled_schedule_does_not_fire(agenda: Agenda) -> None:
    await agenda.put(enabled=False)
    await agenda.put(name="switched-off")
    await agenda.schedules.set_enabled("switched-off", False)

    assert (await agenda.tick_at("09:00")).decisions == {}
    assert await agenda.fired() == []
    assert await agenda.fired("switched-off") == []


async def test_schedule_disabled_while_a_scheduler_decides_makes_no_job(agenda: Agenda) -> None:
    """The scheduler has read the row; then the switch is turned, and its write comes too late."""
    await agenda.put()

    class Late(ScheduleStore):
        async def due(self, now: datetime, limit: int = DUE_LIMIT) -> list[ScheduleRecord]:
            found = await super().due(now, limit)
            await agenda.schedules.set_enabled(NAME, False)
            return found

    agenda.clock.value = at("09:00")
    late = Scheduler(Late(agenda.database, agenda.clock.expression))

    assert (await late.tick()).decisions == {}
    assert await agenda.fired() == []


async def test_fire_time_that_has_a_job_already_leaves_a_trace(
    agenda: Agenda, caplog: pytest.LogCaptureFixture
) -> None:
    record = await agenda.put()
    agenda.clock.value = at("09:00")
    made = await agenda.schedules.backfill(record, [at("09:00")])

    with caplog.at_level(logging.INFO, "server_jobs.scheduler"):
        ticked = await agenda.tick_at("09:00")

    assert ticked.decisions == {NAME: Decision.DEDUPLICATED}
    assert ticked.job_ids == []
    assert [job.id for job in await agenda.jobs()] == list(made.values())
    row = await agenda.get()
    assert (row.last_decision, row.next_run_at) == (Decision.DEDUPLICATED, at("10:00"))
    assert "schedule report: 2026-03-02 09:00 UTC has its job already" in caplog.messages


async def test_every_schedule_is_reached_in_one_tick_however_many_are_due(agenda: Agenda) -> None:
    await agenda.put()
    columns = "id, name, job_name, cron_expression, next_run_at"
    values = [
        f"('{uuid7()}', 'n{n}', '{JOB}', '0 * * * *', '{agenda.stamp(at('09:00'))}')"
        for n in range(1_200)
    ]
    for some in (values[:600], values[600:]):  # D1 takes 100 KB of SQL
        await agenda.sql(f"INSERT INTO cron_jobs ({columns}) VALUES {', '.join(some)}")

    ticked = await agenda.tick_at("09:00")

    assert len(ticked.job_ids) == 1_201
    assert set(ticked.decisions.values()) == {Decision.FIRED}
    assert len({job.cron_job_id for job in await agenda.store.list_jobs(limit=2_000)}) == 1_201


async def test_each_decision_is_one_line_with_fields(
    agenda: Agenda, caplog: pytest.LogCaptureFixture
) -> None:
    await agenda.put()

    with caplog.at_level(logging.INFO, "server_jobs.scheduler"):
        ticked = await agenda.tick_at("09:00")

    (line,) = caplog.records
    (job_id,) = ticked.job_ids
    assert line.levelno == logging.INFO
    assert line.getMessage() == f"schedule report: fired for 2026-03-02 09:00 UTC: job {job_id}"
    fields = {"schedule": NAME, "decision": "fired", "job_ids": [job_id]}
    assert {name: vars(line)[name] for name in fields} == fields
    assert vars(line)["fire_at"] == at("09:00").isoformat()
