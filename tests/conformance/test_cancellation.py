"""Cancelling: at once while pending, through the holder while running."""

import pytest

from server_jobs.errors import JobNotFoundError
from server_jobs.records.outcomes import (
    Abandoned,
    Completed,
    Disrupted,
    Failed,
    LaunchLost,
    Outcome,
    Postponed,
    Released,
)
from server_jobs.records.status import JobStatus
from tests.support.scene import Scene, changes, error


@pytest.mark.parametrize("delay", [0, 3_600], ids=["ready", "delayed"])
async def test_pending_job_is_cancelled_at_once(scene: Scene, delay: float) -> None:
    job_id = await scene.pending(delay_seconds=delay)
    before = await scene.get(job_id)
    now = scene.clock.advance(1)

    assert await scene.store.cancel(job_id) is JobStatus.CANCELLED

    expected = {
        "status": JobStatus.CANCELLED,
        "completed_at": now,
        "cancel_requested_at": now,
        "updated_at": now,
    }
    if before.ready:
        expected["ready"] = False
    assert changes(before, await scene.get(job_id)) == expected
    assert await scene.claim() == []


async def test_running_job_is_only_asked_to_stop(scene: Scene) -> None:
    claim = await scene.running()
    before = await scene.get(claim.job_id)
    now = scene.clock.advance(1)

    assert await scene.store.cancel(claim.job_id) is JobStatus.RUNNING

    assert changes(before, await scene.get(claim.job_id)) == {
        "cancel_requested_at": now,
        "updated_at": now,
    }


async def test_second_request_keeps_the_moment_of_the_first(scene: Scene) -> None:
    claim = await scene.running()
    await scene.store.cancel(claim.job_id)
    first = (await scene.get(claim.job_id)).cancel_requested_at

    scene.clock.advance(1)
    await scene.store.cancel(claim.job_id)

    assert (await scene.get(claim.job_id)).cancel_requested_at == first


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Completed("1"), JobStatus.COMPLETED),
        (Failed(error(), permanent=True), JobStatus.FAILED),
        (Abandoned(""), JobStatus.CANCELLED),
    ],
    ids=["completed", "failed", "cancelled"],
)
async def test_finished_job_stays_as_it_is(
    scene: Scene, outcome: Outcome, status: JobStatus
) -> None:
    claim = await scene.running()
    await scene.settle(claim, outcome)
    before = await scene.get(claim.job_id)
    scene.clock.advance(1)

    assert await scene.store.cancel(claim.job_id) is status

    assert await scene.get(claim.job_id) == before


async def test_unknown_id_is_named(scene: Scene) -> None:
    with pytest.raises(JobNotFoundError, match="no-such-id"):
        await scene.store.cancel("no-such-id")


async def test_completion_that_arrives_before_the_handler_stopped_wins(scene: Scene) -> None:
    claim = await scene.running()
    await scene.store.cancel(claim.job_id)

    settled = await scene.settle(claim, Completed('"done"'))

    assert settled is not None
    assert settled.status is JobStatus.COMPLETED
    assert (await scene.get(claim.job_id)).result == '"done"'


@pytest.mark.parametrize(
    "outcome",
    [
        Failed(error("boom"), delay_seconds=60),
        Failed(error("boom"), permanent=True),
        Released("boom"),
        Postponed("boom", 60),
        Abandoned("boom"),
        Disrupted(error("boom"), 60),
    ],
    ids=["fail", "fail-for-good", "release", "postpone", "abandon", "disrupt"],
)
async def test_requested_cancellation_turns_every_other_end_into_it(
    scene: Scene, outcome: Outcome
) -> None:
    claim = await scene.running()
    await scene.store.cancel(claim.job_id)
    before = await scene.get(claim.job_id)
    now = scene.clock.advance(1)

    settled = await scene.settle(claim, outcome)

    assert settled is not None
    assert settled.status is JobStatus.CANCELLED
    record = await scene.get(claim.job_id)
    assert (record.completed_at, record.worker_expires_at, record.ready) == (now, None, False)
    assert record.scheduled_for == before.scheduled_for
    # It stays known who ran it, and when.
    assert (record.worker_id, record.handler_started_at) == (
        before.worker_id,
        before.handler_started_at,
    )


async def test_requested_cancellation_ends_a_job_whose_launch_was_lost(scene: Scene) -> None:
    claim = await scene.running(starting=False)
    await scene.store.cancel(claim.job_id)

    settled = await scene.settle(claim, LaunchLost(error(), 0))

    assert settled is not None
    assert settled.status is JobStatus.CANCELLED


@pytest.mark.parametrize("starting", [True, False], ids=["started", "unstarted"])
async def test_requested_cancellation_is_honoured_by_a_rescue(
    scene: Scene, *, starting: bool
) -> None:
    claim = await scene.running(starting=starting)
    await scene.store.cancel(claim.job_id)
    scene.clock.advance(61)

    assert (await scene.store.rescue())[claim.job_id].status is JobStatus.CANCELLED


async def test_job_that_was_asked_to_stop_before_its_start_still_says_so(scene: Scene) -> None:
    claim = await scene.running(starting=False)
    await scene.store.cancel(claim.job_id)

    await scene.store.start(claim, worker_id="pod-1", lease_seconds=60)

    assert await scene.store.heartbeat([claim], lease_seconds=60) == {claim.job_id: True}
    assert await scene.store.cancel_requests("pod-1") == {claim}
