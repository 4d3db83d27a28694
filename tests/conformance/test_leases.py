"""Holding jobs: heartbeats, progress, and what the database says a worker holds."""

from server_jobs.records.outcomes import Completed
from server_jobs.records.rows import Claim
from tests.support.scene import Scene, changes, new_job


async def test_heartbeat_changes_just_the_lease(scene: Scene) -> None:
    claim = await scene.running()
    before = await scene.get(claim.job_id)
    now = scene.clock.advance(20)

    assert await scene.store.heartbeat([claim], lease_seconds=300) == {claim.job_id: False}

    assert changes(before, await scene.get(claim.job_id)) == {
        "worker_expires_at": scene.clock.after(300),
        "updated_at": now,
    }


async def test_heartbeat_brings_a_requested_cancellation(scene: Scene) -> None:
    await scene.store.enqueue([new_job(), new_job()])
    wanted, unwanted = (job.claim for job in await scene.claim(2))
    await scene.store.cancel(unwanted.job_id)

    assert await scene.store.heartbeat([wanted, unwanted], lease_seconds=60) == {
        wanted.job_id: False,
        unwanted.job_id: True,
    }


async def test_heartbeat_may_renew_a_lease_that_expired_but_was_not_rescued(scene: Scene) -> None:
    claim = await scene.running()
    scene.clock.advance(61)

    assert await scene.store.heartbeat([claim], lease_seconds=60) == {claim.job_id: False}
    assert await scene.store.rescue() == {}


async def test_heartbeat_of_nothing_answers_nothing(scene: Scene) -> None:
    assert await scene.store.heartbeat([], lease_seconds=60) == {}


async def test_one_heartbeat_renews_a_thousand_leases(scene: Scene) -> None:
    await scene.store.enqueue([new_job() for _ in range(1_200)])
    claims = [job.claim for job in await scene.claim(1_200)]

    assert len(await scene.store.heartbeat(claims, lease_seconds=60)) == 1_200


async def test_progress_changes_just_this(scene: Scene) -> None:
    claim = await scene.running()
    before = await scene.get(claim.job_id)
    now = scene.clock.advance(1)

    assert await scene.store.report_progress({claim: (33.3, "a third")}) == {claim.job_id}

    assert changes(before, await scene.get(claim.job_id)) == {
        "progress": 33.3,
        "progress_message": "a third",
        "updated_at": now,
    }


async def test_progress_without_a_message_takes_the_message_away(scene: Scene) -> None:
    claim = await scene.running()
    await scene.store.report_progress({claim: (10.0, "beginning")})

    await scene.store.report_progress({claim: (20.0, None)})

    record = await scene.get(claim.job_id)
    assert (record.progress, record.progress_message) == (20.0, None)


async def test_progress_of_many_jobs_stays_with_each(scene: Scene) -> None:
    await scene.store.enqueue([new_job() for _ in range(3)])
    claims = [job.claim for job in await scene.claim(3)]
    reports: dict[Claim, tuple[float, str | None]] = {
        claim: (float(number), f"step {number}") for number, claim in enumerate(claims)
    }

    await scene.store.report_progress(reports)

    for claim, report in reports.items():
        record = await scene.get(claim.job_id)
        assert (record.progress, record.progress_message) == report


async def test_worker_learns_which_of_its_jobs_to_cancel(scene: Scene) -> None:
    await scene.store.enqueue([new_job() for _ in range(4)])
    mine = [job.claim for job in await scene.claim(3, worker_id="me")]
    (other,) = [job.claim for job in await scene.claim(1, worker_id="other")]
    for claim in (mine[0], mine[1], other):
        await scene.store.cancel(claim.job_id)
    await scene.settle(mine[1], Completed("1"))

    assert await scene.store.cancel_requests("me") == {mine[0]}
    assert await scene.store.cancel_requests("other") == {other}
    assert await scene.store.cancel_requests("nobody") == set()


async def test_worker_learns_what_it_holds(scene: Scene) -> None:
    await scene.store.enqueue([new_job() for _ in range(4)])
    first, second = (job.claim for job in await scene.claim(2, worker_id="me"))
    await scene.claim(1, worker_id="other")
    await scene.settle(second, Completed("1"))

    assert await scene.store.held_by("me") == {first}
    assert await scene.store.held_by("nobody") == set()


async def test_pod_that_starts_a_job_holds_it_from_then_on(scene: Scene) -> None:
    claim = await scene.running(starting=False)
    await scene.store.start(claim, worker_id="pod-1", lease_seconds=60)

    assert await scene.store.held_by("pod-1") == {claim}
    assert await scene.store.held_by("worker") == set()
