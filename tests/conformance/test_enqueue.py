"""Enqueuing: what a new row holds, and when it becomes claimable."""

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from server_jobs.errors import ConstraintViolatedError
from server_jobs.records.rows import JobRecord
from server_jobs.records.status import JobStatus
from tests.support.scene import Scene, claim_of, new_job


async def test_new_row_holds_what_was_given_and_defaults_elsewhere(scene: Scene) -> None:
    new = new_job(
        params='{"name": "Ada"}',
        queue="mail",
        priority=-7,
        max_attempts=5,
        retry_policy='{"base_seconds": 1.0}',
        timeout_seconds=1.5,
        unique_key="key",
        correlation_id="correlation",
        runtime='{"memory": "1Gi"}',
    )

    assert await scene.store.enqueue([new]) == [new.id]

    record = await scene.get(new.id)
    assert record == JobRecord(
        id=new.id,
        job_name="Greet",
        queue="mail",
        priority=-7,
        params='{"name": "Ada"}',
        result=None,
        status=JobStatus.PENDING,
        ready=True,
        progress=0.0,
        progress_message=None,
        error=None,
        errors="[]",
        attempt_count=0,
        max_attempts=5,
        retry_policy='{"base_seconds": 1.0}',
        scheduled_for=scene.clock.value,
        timeout_seconds=1.5,
        fence=0,
        worker_id=None,
        worker_started_at=None,
        worker_expires_at=None,
        handler_started_at=None,
        cancel_requested_at=None,
        launch_failures=0,
        release_count=0,
        disruptions=0,
        unique_key="key",
        correlation_id="correlation",
        cron_job_id=None,
        cron_fire_at=None,
        runtime='{"memory": "1Gi"}',
        created_at=record.created_at,
        updated_at=record.updated_at,
        completed_at=None,
    )
    assert record.created_at == record.updated_at


async def test_params_survive_the_way_to_the_worker(scene: Scene) -> None:
    params = {"n": 12345678901234567890, "text": "𠀀 🦆 \" \\ ' % : ?", "none": None, "x": 0.1}
    await scene.pending(params=json.dumps(params))

    (claimed,) = await scene.claim()

    assert json.loads(claimed.params) == params


async def test_enqueuing_nothing_does_nothing(scene: Scene) -> None:
    assert await scene.store.enqueue([]) == []


async def test_thousands_keep_their_order(scene: Scene) -> None:
    new = [new_job(params=f'{{"n": {number}}}') for number in range(2_500)]

    assert await scene.store.enqueue(new) == [job.id for job in new]

    claimed = await scene.claim(3_000)
    assert [json.loads(job.params)["n"] for job in claimed] == list(range(2_500))


async def test_one_bad_row_among_thousands_keeps_all_of_them_out(scene: Scene) -> None:
    new = [new_job() for _ in range(1_500)]
    new[1_200] = new_job(max_attempts=0)

    with pytest.raises(ConstraintViolatedError):
        await scene.store.enqueue(new)

    assert await scene.store.list_jobs() == []


async def test_enqueuing_the_same_row_again_changes_nothing(scene: Scene) -> None:
    # What a caller does whose connection broke before the answer came.
    new = new_job()
    await scene.store.enqueue([new])
    (claimed,) = await scene.claim()
    before = await scene.get(new.id)

    assert await scene.store.enqueue([new]) == [new.id]

    assert await scene.get(new.id) == before
    assert claimed.id == new.id


async def test_job_without_delay_is_claimable_at_once(scene: Scene) -> None:
    job_id = await scene.pending()

    assert (await scene.get(job_id)).ready
    assert [job.id for job in await scene.claim()] == [job_id]


async def test_delayed_job_waits_until_it_is_due_and_staged(scene: Scene) -> None:
    job_id = await scene.pending(delay_seconds=90.25)
    assert (await scene.get(job_id)).scheduled_for == scene.clock.after(90.25)

    scene.clock.advance(90.249)
    assert await scene.store.stage() == 0
    assert await scene.claim() == []

    scene.clock.advance(0.001)
    assert await scene.claim() == [], "a claim looks only at what was staged"
    assert await scene.store.stage() == 1
    assert [job.id for job in await scene.claim()] == [job_id]


async def test_scheduled_job_is_due_at_its_moment_in_any_time_zone(scene: Scene) -> None:
    moment = scene.clock.after(3_600).astimezone(timezone(timedelta(hours=-9, minutes=-30)))
    job_id = await scene.pending(scheduled_for=moment)
    assert (await scene.get(job_id)).scheduled_for == moment

    scene.clock.advance(3_600)
    assert await scene.store.stage() == 1
    assert [job.id for job in await scene.claim()] == [job_id]


@pytest.mark.parametrize("seconds", [-3_600, 0], ids=["past", "now"])
async def test_job_scheduled_for_a_moment_that_has_come_is_ready(
    scene: Scene, seconds: float
) -> None:
    job_id = await scene.pending(scheduled_for=scene.clock.after(seconds))

    record = await scene.get(job_id)
    assert record.ready
    assert record.scheduled_for == scene.clock.after(seconds)


async def test_moment_outweighs_delay(scene: Scene) -> None:
    moment = datetime(2050, 1, 1, tzinfo=UTC)
    job_id = await scene.pending(scheduled_for=moment, delay_seconds=5)

    assert (await scene.get(job_id)).scheduled_for == moment


async def test_staging_touches_only_what_is_due_and_pending(scene: Scene) -> None:
    due = [await scene.pending(delay_seconds=10) for _ in range(2)]
    later = await scene.pending(delay_seconds=11)
    cancelled = await scene.pending(delay_seconds=10)
    await scene.store.cancel(cancelled)
    before = {job_id: await scene.get(job_id) for job_id in (later, cancelled)}
    now = scene.clock.advance(10)

    assert await scene.store.stage() == 2

    for job_id in due:
        record = await scene.get(job_id)
        assert (record.ready, record.updated_at) == (True, now)
    assert {job_id: await scene.get(job_id) for job_id in before} == before
    assert await scene.store.stage() == 0


async def test_staging_is_bounded_and_goes_on_next_time(scene: Scene) -> None:
    await scene.store.enqueue([new_job(delay_seconds=1) for _ in range(1_050)])
    scene.clock.advance(1)

    assert [await scene.store.stage() for _ in range(3)] == [1_000, 50, 0]


async def test_job_that_was_staged_late_keeps_its_place(scene: Scene) -> None:
    early = await scene.pending(delay_seconds=1)
    scene.clock.advance(5)
    late = await scene.pending()
    await scene.store.stage()

    assert [job.id for job in await scene.claim(2)] == [early, late]


async def test_many_enqueue_at_once(scene: Scene) -> None:
    new = [[new_job() for _ in range(5)] for _ in range(8)]

    await asyncio.gather(*(scene.store.enqueue(jobs) for jobs in new))

    claimed = await scene.store.claim(claim_of(100))
    assert {job.id for job in claimed} == {job.id for jobs in new for job in jobs}


async def test_row_that_its_maker_executes_is_born_running(scene: Scene) -> None:
    new = new_job(
        params='{"name": "Ada"}', queue="mail", timeout_seconds=9.5, correlation_id="correlation"
    )

    claimed = await scene.store.insert_running(new, worker_id="inline", lease_seconds=30)

    record = await scene.get(new.id)
    assert (record.status, record.fence, record.attempt_count) == (JobStatus.RUNNING, 1, 1)
    assert (record.max_attempts, record.ready, record.worker_id) == (1, False, "inline")
    assert record.worker_started_at == record.handler_started_at == scene.clock.value
    assert record.worker_expires_at == scene.clock.after(30)
    assert (record.queue, record.timeout_seconds) == ("mail", 9.5)
    assert (claimed.id, claimed.fence, claimed.correlation_id) == (new.id, 1, "correlation")
    assert await scene.store.heartbeat([claimed.claim], lease_seconds=60) == {new.id: False}


async def test_new_rows_are_stamped_by_the_clock_of_the_store(scene: Scene) -> None:
    pending = await scene.get(await scene.pending())
    held = await scene.store.insert_running(new_job(), worker_id="worker", lease_seconds=60)
    running = await scene.get(held.id)

    for record in (pending, running):
        assert record.created_at == record.updated_at == scene.clock.value
