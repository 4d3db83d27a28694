"""Retrying by hand: a failed or cancelled job begins anew, and keeps what went wrong."""

import pytest

from server_jobs.errors import JobNotFoundError, JobNotRetryableError
from server_jobs.records.outcomes import (
    Abandoned,
    Completed,
    Disrupted,
    Failed,
    LaunchLost,
    Released,
)
from server_jobs.records.rows import Claim
from server_jobs.records.status import JobStatus
from tests.support.scene import Scene, changes, error


async def failed_after_all_kinds_of_trouble(scene: Scene) -> Claim:
    claim = await scene.running(starting=False, max_attempts=2)
    await scene.settle(claim, LaunchLost(error("launch"), 0))
    claim = await scene.claimed_again(claim.job_id)
    await scene.settle(claim, Disrupted(error("disruption"), 0))
    claim = await scene.claimed_again(claim.job_id)
    await scene.settle(claim, Failed(error("first")))
    claim = await scene.claimed_again(claim.job_id)
    await scene.settle(claim, Released("shutdown"))
    claim = await scene.claimed_again(claim.job_id)
    await scene.store.report_progress({claim: (40.0, "half-way")})
    await scene.settle(claim, Released("no more", max_releases=1))
    return claim


async def test_retry_zeroes_the_counters_and_keeps_errors_and_fence(scene: Scene) -> None:
    claim = await failed_after_all_kinds_of_trouble(scene)
    before = await scene.get(claim.job_id)
    assert before.status is JobStatus.FAILED
    now = scene.clock.advance(100)

    await scene.store.retry(claim.job_id)

    after = await scene.get(claim.job_id)
    assert changes(before, after) == {
        "status": JobStatus.PENDING,
        "ready": True,
        "scheduled_for": now,
        "attempt_count": 0,
        "launch_failures": 0,
        "release_count": 0,
        "disruptions": 0,
        "completed_at": None,
        "worker_id": None,
        "worker_started_at": None,
        "handler_started_at": None,
        "progress": 0.0,
        "progress_message": None,
        "updated_at": now,
    }
    assert after.fence == claim.fence
    assert [entry.message for entry in after.attempt_errors] == ["launch", "disruption", "first"]


async def test_retried_job_is_claimable_at_once_and_has_all_its_attempts(scene: Scene) -> None:
    claim = await scene.running(max_attempts=2)
    await scene.settle(claim, Failed(error(), permanent=True))
    await scene.store.retry(claim.job_id)

    again = await scene.claimed_again(claim.job_id)

    assert again.fence == claim.fence + 1
    settled = await scene.settle(again, Failed(error()))
    assert settled is not None
    assert settled.status is JobStatus.PENDING, "two attempts were left"


@pytest.mark.parametrize("running", [True, False], ids=["by-its-holder", "while-pending"])
async def test_cancelled_job_forgets_that_it_was_to_stop(scene: Scene, *, running: bool) -> None:
    job_id = (await scene.running()).job_id if running else await scene.pending()
    await scene.store.cancel(job_id)
    if running:
        await scene.settle(Claim(job_id, 1), Abandoned("stopped"))

    await scene.store.retry(job_id)

    record = await scene.get(job_id)
    assert (record.status, record.cancel_requested_at) == (JobStatus.PENDING, None)
    claim = await scene.claimed_again(job_id)
    assert await scene.store.heartbeat([claim], lease_seconds=60) == {job_id: False}


async def test_live_or_completed_job_is_refused_untouched(scene: Scene) -> None:
    claim = await scene.running()
    pending = await scene.pending()
    completed = await scene.pending(priority=1)
    await scene.settle(await scene.claimed_again(completed), Completed("1"))

    for job_id, status in (
        (claim.job_id, "running"),
        (pending, "pending"),
        (completed, "completed"),
    ):
        before = await scene.get(job_id)
        with pytest.raises(JobNotRetryableError, match=f"{job_id} is {status}"):
            await scene.store.retry(job_id)
        assert await scene.get(job_id) == before


async def test_unknown_id_is_named(scene: Scene) -> None:
    with pytest.raises(JobNotFoundError, match="no-such-id"):
        await scene.store.retry("no-such-id")


async def test_retry_is_refused_while_a_live_job_has_its_unique_key(scene: Scene) -> None:
    claim = await scene.running(unique_key="order-17")
    await scene.settle(claim, Failed(error(), permanent=True))
    successor = await scene.pending(unique_key="order-17")
    before = await scene.get(claim.job_id)

    with pytest.raises(JobNotRetryableError, match="order-17"):
        await scene.store.retry(claim.job_id)
    assert await scene.get(claim.job_id) == before

    await scene.store.cancel(successor)
    await scene.store.retry(claim.job_id)
    assert (await scene.get(claim.job_id)).status is JobStatus.PENDING


async def test_retried_job_holds_its_unique_key_again(scene: Scene) -> None:
    claim = await scene.running(unique_key="order-17")
    await scene.settle(claim, Failed(error(), permanent=True))
    await scene.store.retry(claim.job_id)

    assert await scene.pending(unique_key="order-17") == claim.job_id
