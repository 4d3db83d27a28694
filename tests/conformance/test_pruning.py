"""Pruning: finished jobs are deleted by age, in steps, and nothing else is."""

import pytest

from server_jobs.outcomes import Abandoned, Completed, Failed, Outcome
from tests.support.scene import Scene, error, new_job


async def finished(scene: Scene, count: int) -> list[str]:
    await scene.store.enqueue([new_job() for _ in range(count)])
    leases = [job.lease for job in await scene.claim(count)]
    await scene.store.settle({lease: Completed("1") for lease in leases})
    return sorted(lease.job_id for lease in leases)


async def ids(scene: Scene) -> list[str]:
    return sorted(record.id for record in await scene.store.list_jobs(limit=1_000))


@pytest.mark.parametrize(
    "outcome",
    [Completed("1"), Failed(error(), permanent=True), Abandoned("")],
    ids=["completed", "failed", "cancelled"],
)
async def test_finished_job_is_deleted_once_it_is_old_enough(
    scene: Scene, outcome: Outcome
) -> None:
    lease = await scene.running()
    await scene.settle(lease, outcome)

    assert await scene.store.prune(before=scene.clock.value) == []
    assert await scene.store.prune(before=scene.clock.after(0.001)) == [lease.job_id]
    assert await ids(scene) == []


async def test_live_jobs_stay(scene: Scene) -> None:
    running = await scene.running()
    pending = await scene.pending()
    delayed = await scene.pending(delay_seconds=60)
    gone_round = await scene.running(queue="other")
    await scene.settle(gone_round, Failed(error()))

    assert await scene.store.prune(before=scene.clock.after(86_400 * 365)) == []

    assert await ids(scene) == sorted([running.job_id, pending, delayed, gone_round.job_id])


async def test_retried_job_stays(scene: Scene) -> None:
    lease = await scene.running()
    await scene.settle(lease, Failed(error(), permanent=True))
    await scene.store.retry(lease.job_id)

    assert await scene.store.prune(before=scene.clock.after(1)) == []


async def test_steps_walk_through_all_that_is_old(scene: Scene) -> None:
    old = await finished(scene, 7)
    cutoff = scene.clock.advance(1)
    scene.clock.advance(1)
    young = await finished(scene, 2)

    steps = []
    after = ""
    while step := await scene.store.prune(before=cutoff, after=after, limit=3):
        steps.append(step)
        after = step[-1]

    assert [len(step) for step in steps] == [3, 3, 1]
    assert [job_id for step in steps for job_id in step] == old
    assert await ids(scene) == young
