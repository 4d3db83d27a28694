"""Claiming: who gets which job, in what order, and what it changes."""

import pytest

from server_jobs.records.outcomes import Abandoned, Completed, Failed
from server_jobs.records.rows import Claim
from server_jobs.records.status import JobStatus
from tests.support.scene import JOB, Scene, changes, error, new_job


async def test_claim_and_start_changes_just_this(scene: Scene) -> None:
    job_id = await scene.pending()
    before = await scene.get(job_id)
    now = scene.clock.advance(1)

    await scene.claim(worker_id="w", lease_seconds=45.5)

    assert changes(before, await scene.get(job_id)) == {
        "status": JobStatus.RUNNING,
        "ready": False,
        "fence": 1,
        "attempt_count": 1,
        "worker_id": "w",
        "worker_started_at": now,
        "worker_expires_at": scene.clock.after(45.5),
        "handler_started_at": now,
        "updated_at": now,
    }


async def test_claim_for_another_process_doesnt_begin_the_handler(scene: Scene) -> None:
    job_id = await scene.pending()
    before = await scene.get(job_id)
    now = scene.clock.advance(1)

    await scene.claim(worker_id="w", starting=False)

    assert changes(before, await scene.get(job_id)) == {
        "status": JobStatus.RUNNING,
        "ready": False,
        "fence": 1,
        "attempt_count": 1,
        "worker_id": "w",
        "worker_started_at": now,
        "worker_expires_at": scene.clock.after(60),
        "updated_at": now,
    }


async def test_claim_hands_over_all_that_its_holder_needs(scene: Scene) -> None:
    new = new_job(
        params='{"name": "Ada"}',
        priority=3,
        max_attempts=4,
        retry_policy='{"factor": 3.0}',
        timeout_seconds=12.5,
        correlation_id="correlation",
    )
    await scene.store.enqueue([new])

    (job,) = await scene.claim(worker_id="w")

    assert (job.id, job.job_name, job.queue, job.priority) == (new.id, JOB, "default", 3)
    assert (job.params, job.retry_policy) == ('{"name": "Ada"}', '{"factor": 3.0}')
    assert (job.fence, job.attempt_count, job.max_attempts) == (1, 1, 4)
    assert (job.timeout_seconds, job.correlation_id) == (12.5, "correlation")
    assert (job.worker_id, job.scheduled_for) == ("w", scene.clock.value)


async def test_progress_of_the_attempt_before_is_wiped(scene: Scene) -> None:
    claim = await scene.running()
    await scene.store.report_progress({claim: (40.0, "half-way")})
    await scene.settle(claim, Failed(error()))

    await scene.claim()

    record = await scene.get(claim.job_id)
    assert (record.progress, record.progress_message) == (0.0, None)


async def test_priority_comes_first_then_due_time_then_id(scene: Scene) -> None:
    early = scene.clock.after(-10)
    order = [
        new_job(id="5", priority=2),
        new_job(id="6", priority=1, scheduled_for=early),
        new_job(id="1", priority=1),
        new_job(id="2", priority=1),
        new_job(id="4", priority=0, scheduled_for=early),
        new_job(id="0", priority=0),
        new_job(id="3", priority=-1, scheduled_for=early),
    ]
    await scene.store.enqueue(sorted(order, key=lambda job: job.id))

    one_by_one = [(await scene.claim())[0].id for _ in range(3)]
    at_once = [job.id for job in await scene.claim(10)]

    assert one_by_one + at_once == [job.id for job in order]


async def test_limit_is_kept(scene: Scene) -> None:
    await scene.store.enqueue([new_job() for _ in range(5)])

    assert [len(await scene.claim(2)) for _ in range(4)] == [2, 2, 1, 0]


async def test_claim_of_none_takes_none(scene: Scene) -> None:
    await scene.pending()

    assert await scene.claim(0) == []


async def test_empty_table_gives_nothing(scene: Scene) -> None:
    assert await scene.claim(10) == []


async def test_claim_serves_one_queue(scene: Scene) -> None:
    mail = await scene.pending(queue="mail")
    default = await scene.pending()

    assert [job.id for job in await scene.claim(10)] == [default]
    assert [job.id for job in await scene.claim(10, queue="mail")] == [mail]


async def test_unknown_job_is_left_for_a_worker_that_knows_it(scene: Scene) -> None:
    unknown = await scene.pending(job_name="Unheard", priority=9)
    known = await scene.pending()
    before = await scene.get(unknown)

    assert [job.id for job in await scene.claim(10, job_names=(JOB, "Other"))] == [known]

    assert await scene.get(unknown) == before
    assert [job.id for job in await scene.claim(10, job_names=("Unheard",))] == [unknown]


async def test_worker_without_jobs_claims_nothing(scene: Scene) -> None:
    await scene.pending()

    assert await scene.claim(10, job_names=()) == []


async def test_unknown_jobs_in_front_dont_fill_the_limit(scene: Scene) -> None:
    await scene.store.enqueue([new_job("Unheard", priority=9) for _ in range(20)])
    known = await scene.pending()

    assert [job.id for job in await scene.claim(5)] == [known]


async def test_claimed_job_isnt_claimed_again(scene: Scene) -> None:
    await scene.pending()

    assert len(await scene.claim(10)) == 1
    assert await scene.claim(10) == []


async def test_every_claim_has_a_higher_fence(scene: Scene) -> None:
    claim = await scene.running(max_attempts=10)
    fences = [claim.fence]
    for _ in range(3):
        await scene.settle(claim, Failed(error()))
        claim = await scene.claimed_again(claim.job_id)
        fences.append(claim.fence)

    assert fences == [1, 2, 3, 4]


# ── one job by its id ────────────────────────────────────────────────────────────────────────


async def test_claim_of_one_takes_just_it_and_starts_it(scene: Scene) -> None:
    other = await scene.pending(priority=9)
    job_id = await scene.pending()
    before = await scene.get(job_id)
    now = scene.clock.advance(1)

    job = await scene.store.claim_one(job_id, worker_id="w", lease_seconds=30)

    assert job is not None
    assert (job.id, job.fence) == (job_id, 1)
    assert changes(before, await scene.get(job_id)) == {
        "status": JobStatus.RUNNING,
        "ready": False,
        "fence": 1,
        "attempt_count": 1,
        "worker_id": "w",
        "worker_started_at": now,
        "worker_expires_at": scene.clock.after(30),
        "handler_started_at": now,
        "updated_at": now,
    }
    assert (await scene.get(other)).status is JobStatus.PENDING


async def test_claim_of_one_that_is_due_needs_no_staging(scene: Scene) -> None:
    job_id = await scene.pending(delay_seconds=5)
    assert await scene.store.claim_one(job_id, worker_id="w", lease_seconds=30) is None

    scene.clock.advance(5)

    assert await scene.store.claim_one(job_id, worker_id="w", lease_seconds=30) is not None


async def test_claim_of_one_that_runs_or_doesnt_exist_gives_nothing(scene: Scene) -> None:
    claim = await scene.running()
    before = await scene.get(claim.job_id)

    assert await scene.store.claim_one(claim.job_id, worker_id="w", lease_seconds=30) is None
    assert await scene.store.claim_one("no-such-id", worker_id="w", lease_seconds=30) is None

    assert await scene.get(claim.job_id) == before


@pytest.mark.parametrize(
    "outcome",
    [Completed("null"), Failed(error(), permanent=True), Abandoned("asked to")],
    ids=["completed", "failed", "cancelled"],
)
async def test_finished_job_isnt_claimed(
    scene: Scene, outcome: Completed | Failed | Abandoned
) -> None:
    claim = await scene.running()
    await scene.settle(claim, outcome)
    scene.clock.advance(86_400)

    assert await scene.store.stage() == 0
    assert await scene.claim(10) == []
    assert await scene.store.claim_one(claim.job_id, worker_id="w", lease_seconds=30) is None


# ── the handler's start in a process of its own ──────────────────────────────────────────────


async def test_start_changes_just_this(scene: Scene) -> None:
    claim = await scene.running(starting=False)
    before = await scene.get(claim.job_id)
    now = scene.clock.advance(10)

    job = await scene.store.start(claim, worker_id="pod-1", lease_seconds=300)

    assert job is not None
    assert (job.id, job.fence, job.worker_id) == (claim.job_id, claim.fence, "pod-1")
    assert changes(before, await scene.get(claim.job_id)) == {
        "handler_started_at": now,
        "worker_id": "pod-1",
        "worker_expires_at": scene.clock.after(300),
        "updated_at": now,
    }


async def test_second_pod_of_a_launch_loses_the_start(scene: Scene) -> None:
    claim = await scene.running(starting=False)
    await scene.store.start(claim, worker_id="pod-1", lease_seconds=300)
    before = await scene.get(claim.job_id)
    scene.clock.advance(1)

    assert await scene.store.start(claim, worker_id="pod-2", lease_seconds=300) is None

    assert await scene.get(claim.job_id) == before


async def test_pod_whose_start_went_unanswered_may_ask_again(scene: Scene) -> None:
    claim = await scene.running(starting=False)
    first = await scene.store.start(claim, worker_id="pod-1", lease_seconds=300)
    before = await scene.get(claim.job_id)
    now = scene.clock.advance(1)

    assert await scene.store.start(claim, worker_id="pod-1", lease_seconds=300) == first

    assert changes(before, await scene.get(claim.job_id)) == {
        "worker_expires_at": scene.clock.after(300),
        "updated_at": now,
    }


async def test_job_that_began_with_its_claim_cannot_be_started(scene: Scene) -> None:
    claim = await scene.running(starting=True)

    assert await scene.store.start(claim, worker_id="pod-1", lease_seconds=300) is None


async def test_start_needs_a_claim(scene: Scene) -> None:
    job_id = await scene.pending()

    for fence in (0, 1):
        assert await scene.store.start(Claim(job_id, fence), worker_id="p", lease_seconds=1) is None
