"""Room: whatever the API server does, no more is claimed than may be in flight, by turns."""

from collections import Counter

import pytest

from server_jobs import JobStatus
from server_jobs_operator.cluster.kube import KubeError
from tests.operator.bench import Bench
from tests.operator.samples import runner


@pytest.fixture(autouse=True)
def one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server_jobs_operator.launches.create._TRIES", 1)


def not_paused(bench: Bench) -> None:
    bench.launcher._refused_until.clear()


@pytest.mark.parametrize(
    ("status", "reason"),
    [(503, ""), (0, ""), (401, "Unauthorized"), (409, "Conflict"), (429, "TooManyRequests")],
)
async def test_what_cannot_be_created_just_now_takes_its_place_and_costs_nothing(
    bench: Bench, status: int, reason: str
) -> None:
    bench.serve(runner(maxConcurrency=2))
    ids = await bench.enqueue(10)
    bench.kube.fails("create", "/jobs/jobs", status, "not now", reason)

    for _ in range(3):
        await bench.launch()
        not_paused(bench)

    held = [await bench.record(job_id) for job_id in ids]
    assert Counter(record.status for record in held) == {
        JobStatus.RUNNING: 2,
        JobStatus.PENDING: 8,
    }
    assert {record.launch_failures for record in held} == {0}

    bench.kube.recovers()
    await bench.reconciler.reconcile()
    await bench.launcher.finish(10)
    await bench.launch()
    assert len(bench.jobs) == 2


async def test_a_runner_whose_jobs_cannot_be_created_claims_nothing_for_a_moment(
    bench: Bench,
) -> None:
    bench.serve(runner())
    await bench.enqueue()
    bench.kube.fails("create", "/jobs/jobs", 503)
    await bench.launch()
    bench.kube.recovers()

    await bench.enqueue()

    assert await bench.launch() == 0


async def test_a_job_that_was_created_although_nobody_said_so_counts_once(bench: Bench) -> None:
    bench.serve(runner(maxConcurrency=2))
    await bench.enqueue(2)
    await bench.launch()
    # The answers to both were lost; the watch has told of the Jobs.
    await bench.view.relist("jobs")
    claim = next(iter(bench.view)).claim
    bench.launcher._without_job[claim] = ("jobs", "default")

    await bench.reconciler.reconcile()
    await bench.job_ends(bench.jobs[0])
    await bench.view.relist("jobs")

    assert bench.launcher.room(runner(maxConcurrency=2)) == 1


async def test_a_policy_that_denies_one_job_denies_that_one_alone(bench: Bench) -> None:
    bench.serve(runner(maxLaunchFailures=1))
    (job_id,) = await bench.enqueue()
    bench.kube.fails(
        "create", "/jobs/jobs", 403, 'admission webhook "x" denied the request: no', "Forbidden"
    )
    await bench.launch()
    bench.kube.recovers()

    record = await bench.record(job_id)
    assert (record.status, record.launch_failures) == (JobStatus.FAILED, 1)
    assert "denied the request" in record.attempt_errors[0].message
    await bench.enqueue()
    assert await bench.launch() == 1


@pytest.mark.parametrize(
    "message",
    [
        "exceeded quota: team, requested: count/jobs.batch=1",
        'jobs.batch is forbidden: User "x" cannot create resource "jobs" in API group "batch"',
        "unable to create new content in namespace jobs because it is being terminated",
    ],
)
def test_nobodys_job_would_be_taken(message: str) -> None:
    assert KubeError("create", "/jobs", 403, "Forbidden", message).held_up


async def test_a_template_that_is_none_holds_its_runner_up_and_no_record(bench: Bench) -> None:
    bench.serve(runner(template={"spec": {"containers": ["x"]}}))
    (job_id,) = await bench.enqueue()

    await bench.launch()

    record = await bench.record(job_id)
    assert (record.status, record.launch_failures) == (JobStatus.PENDING, 0)
    assert "spec.template.spec.containers[0]" in (record.progress_message or "")
    refusal = bench.launcher.refusal(next(iter(bench.table)))
    assert refusal is not None
    assert "containers[0]" in refusal.text


async def test_each_queue_of_each_runner_gets_its_turn(bench: Bench) -> None:
    bench = bench.with_settings(max_jobs=1)
    bench.serve(runner("x", queues=["a", "b"]), runner("y", queues=["c", "d"]))
    for queue in "abcd":
        await bench.enqueue(20, queue=queue)

    await bench.rounds(8)

    assert bench.by_queue() == {"a": 2, "b": 2, "c": 2, "d": 2}


async def test_a_leader_that_leaves_creates_nothing_more(bench: Bench) -> None:
    bench.serve(runner())
    await bench.enqueue(3)
    await bench.launcher.claim()
    bench.launcher.draining = True

    await bench.launcher.finish(10)

    assert bench.jobs == []
