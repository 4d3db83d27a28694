"""The fence: whoever lost its lease can write nothing any more."""

from collections.abc import Awaitable, Callable

import pytest

from server_jobs.records.outcomes import (
    Abandoned,
    Completed,
    Disrupted,
    Failed,
    LaunchLost,
    Outcome,
    Postponed,
    Released,
    Withdrawn,
)
from server_jobs.records.rows import Claim
from server_jobs.records.status import JobStatus
from tests.support.scene import Scene, error, new_job

OUTCOMES: list[Outcome] = [
    Completed('"late"', "late"),
    Failed(error("late")),
    Failed(error("late"), permanent=True),
    Released("late"),
    Postponed("late", 1),
    Abandoned("late"),
    Withdrawn("late", 1),
    LaunchLost(error("late"), 1),
    Disrupted(error("late"), 1),
]


async def lost_to_another(scene: Scene, *, starting: bool) -> Claim:
    """A lease that expired; the job was rescued and claimed by another worker."""
    stale = await scene.running(starting=starting, retry_policy='{"base_seconds": 0.0}')
    scene.clock.advance(61)
    await scene.store.rescue()
    (job,) = await scene.claim(worker_id="another", starting=starting)
    assert job.id == stale.job_id
    return stale


async def given_back(scene: Scene) -> Claim:
    claim = await scene.running()
    await scene.settle(claim, Released("shutdown"))
    return claim


async def completed(scene: Scene) -> Claim:
    claim = await scene.running()
    await scene.settle(claim, Completed('"first"'))
    return claim


async def failed(scene: Scene) -> Claim:
    claim = await scene.running()
    await scene.settle(claim, Failed(error("first"), permanent=True))
    return claim


async def cancelled(scene: Scene) -> Claim:
    claim = await scene.running()
    await scene.settle(claim, Abandoned("first"))
    return claim


async def retried_and_claimed(scene: Scene) -> Claim:
    claim = await failed(scene)
    await scene.store.retry(claim.job_id)
    await scene.claimed_again(claim.job_id)
    return claim


async def from_the_future(scene: Scene) -> Claim:
    claim = await scene.running()
    return Claim(claim.job_id, claim.fence + 1)


LOSSES: dict[str, Callable[[Scene], Awaitable[Claim]]] = {
    "claimed-by-another": lambda scene: lost_to_another(scene, starting=True),
    "claimed-by-another-unstarted": lambda scene: lost_to_another(scene, starting=False),
    "given-back": given_back,
    "completed": completed,
    "failed": failed,
    "cancelled": cancelled,
    "retried": retried_and_claimed,
    "of-no-claim": from_the_future,
}

each_loss = pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES.keys())


@each_loss
async def test_stale_holder_settles_nothing(
    scene: Scene, lose: Callable[[Scene], Awaitable[Claim]]
) -> None:
    stale = await lose(scene)
    before = await scene.get(stale.job_id)
    scene.clock.advance(1)

    for outcome in OUTCOMES:
        assert await scene.store.settle({stale: outcome}) == {}, outcome
        assert await scene.get(stale.job_id) == before, outcome


@each_loss
async def test_stale_holder_renews_reports_and_starts_nothing(
    scene: Scene, lose: Callable[[Scene], Awaitable[Claim]]
) -> None:
    stale = await lose(scene)
    before = await scene.get(stale.job_id)
    scene.clock.advance(1)

    assert await scene.store.heartbeat([stale], lease_seconds=600) == {}
    assert await scene.store.report_progress({stale: (99.0, "late")}) == set()
    assert await scene.store.start(stale, worker_id="late", lease_seconds=600) is None
    assert await scene.store.settle({}, {stale: (99.0, "late")}) == {}

    assert await scene.get(stale.job_id) == before


async def test_stale_and_good_leases_in_one_call_are_told_apart(scene: Scene) -> None:
    stale = await lost_to_another(scene, starting=True)
    good = await scene.running()

    assert await scene.store.heartbeat([stale, good], lease_seconds=60) == {good.job_id: False}
    reports = {stale: (10.0, "stale"), good: (20.0, "good")}
    assert await scene.store.report_progress(reports) == {good.job_id}
    settled = await scene.store.settle({stale: Completed("1"), good: Completed("2")})

    assert set(settled) == {good.job_id}
    assert (await scene.get(stale.job_id)).status is JobStatus.RUNNING


async def test_old_and_new_lease_of_one_job_in_one_call_settle_it_once(scene: Scene) -> None:
    stale = await lost_to_another(scene, starting=True)
    current = Claim(stale.job_id, stale.fence + 1)

    settled = await scene.store.settle({stale: Completed('"stale"'), current: Completed('"new"')})

    assert settled[current.job_id].status is JobStatus.COMPLETED
    assert (await scene.get(current.job_id)).result == '"new"'


async def test_only_the_first_of_two_settlements_counts(scene: Scene) -> None:
    claim = await scene.running()

    assert await scene.settle(claim, Completed('"first"')) is not None
    assert await scene.settle(claim, Completed('"second"')) is None

    assert (await scene.get(claim.job_id)).result == '"first"'


async def test_after_a_lost_answer_the_holder_can_tell_what_it_settled(scene: Scene) -> None:
    await scene.store.enqueue([new_job() for _ in range(3)])
    done, lost, running = (job.claim for job in await scene.claim(3))
    await scene.settle(done, Completed("1"))
    await scene.settle(lost, Released("shutdown"))
    lost_again = await scene.claimed_again(lost.job_id)
    await scene.settle(lost_again, Completed("1"))

    found = await scene.store.settled([done, lost, running])

    assert set(found) == {done.job_id}


async def test_row_is_set_aside_only_under_the_hold_that_was_seen(scene: Scene) -> None:
    stale = await scene.running()
    store, job_id = scene.store, stale.job_id
    assert not await store.set_aside(job_id, "broken")  # seen pending: it runs by now
    assert not await store.set_aside(job_id, "broken", fence=stale.fence, expired=True)

    scene.clock.advance(61)
    assert job_id in await store.rescue()
    assert not await store.set_aside(job_id, "broken", fence=stale.fence)
    scene.clock.advance(3_600)
    await store.stage()
    held = await scene.claimed_again(job_id)
    for fence in (stale.fence, None):
        assert not await store.set_aside(
            job_id, "broken", worker_id="another", fence=fence, expired=fence is not None
        )
    assert (await scene.get(job_id)).status is JobStatus.RUNNING

    assert await store.set_aside(job_id, "broken", fence=held.fence)
    assert (await scene.get(job_id)).status is JobStatus.FAILED
