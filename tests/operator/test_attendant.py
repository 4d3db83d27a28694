"""Attending: what goes wrong with one launch is written, told and counted, and stops no other."""

import asyncio
import logging

import pytest

from server_jobs import JobStatus
from server_jobs.outcomes import LaunchLost
from server_jobs.records import AttemptError, Lease
from server_jobs_operator import attendant
from server_jobs_operator.judging import judge
from server_jobs_operator.names import jobs_path
from tests.operator.bench import Bench
from tests.operator.samples import runner
from tests.support.workers import until


async def launched(bench: Bench, count: int = 1) -> list[Lease]:
    bench.serve(runner(maxConcurrency=50))
    ids = await bench.enqueue(count)
    await bench.launch()
    return [Lease(job_id, 1) for job_id in ids]


async def given_up(bench: Bench, lease: Lease, reason: str, pod: str) -> None:
    """Its runner settles the launch, as one that can't run the job does."""
    await bench.launches.records.settle(
        {lease: LaunchLost(AttemptError(1, None, reason, "no such job", "", f"k8s/…/{pod}"), 10)}
    )


async def seen(bench: Bench) -> None:
    """The pods have been listed."""
    bench.start(bench.view.run())
    await bench.view.synced.wait()


@pytest.mark.parametrize("reason", ["unknown_job", "app_not_loaded", "runs_elsewhere"])
async def test_a_launch_that_its_runner_gave_up_is_told_and_counted_once(
    bench: Bench, reason: str
) -> None:
    (lease,) = await launched(bench)
    pod = await bench.pod_runs(bench.jobs[0])
    await seen(bench)
    await given_up(bench, lease, reason, pod)

    for _ in range(3):
        await bench.attendant.attend([lease])

    assert bench.reasons() == {reason: 1}
    (event,) = await bench.settle_events()
    assert event == ("Job", "".join(word.capitalize() for word in reason.split("_")))


async def test_what_an_earlier_launch_died_of_is_not_told_of_the_next_one(bench: Bench) -> None:
    (lease,) = await launched(bench)
    await bench.pod_runs(bench.jobs[0])
    await seen(bench)
    await given_up(bench, lease, "unknown_job", "another-pod")

    await bench.attendant.attend([lease])

    assert bench.reasons() == {}


async def test_what_an_earlier_leader_has_seen_to_is_not_told_again(bench: Bench) -> None:
    (lease,) = await launched(bench)
    pod = await bench.pod_runs(bench.jobs[0])
    await given_up(bench, lease, "unknown_job", pod)
    await bench.kube.change(
        jobs_path("jobs", f"job-{lease.job_id}-1"),
        lambda job: job["spec"].update(ttlSecondsAfterFinished=3_600),
    )
    later = Bench(bench.kube, bench.launches, bench.settings)
    later.start(later.view.run())
    await later.view.synced.wait()

    await later.attendant.attend([lease])
    await later.end()

    assert later.reasons() == {}


async def test_a_launch_that_is_lost_is_written_told_and_counted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    (lease,) = await launched(bench)
    await bench.pod_runs(bench.jobs[0], "the-pod")
    await seen(bench)
    await bench.job_ends(bench.jobs[0], "Failed")
    await until(lambda: bench.view.in_flight() == 0, "the Job is known to be over")

    await bench.attendant.attend([lease])

    record = await bench.record(lease.job_id)
    assert (record.status, record.launch_failures) == (JobStatus.PENDING, 1)
    assert bench.reasons() == {"lost": 1}
    (line,) = [one for one in caplog.records if "it is pending now" in one.getMessage()]
    fields = ("job_id", "fence", "kubernetes_job", "pod", "reason")
    assert [getattr(line, name) for name in fields] == [
        lease.job_id,
        1,
        f"job-{lease.job_id}-1",
        "the-pod",
        "lost",
    ]


async def test_a_delete_that_fails_holds_up_no_other_and_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendant, "AGAIN_SECONDS", 0.05)
    leases = await launched(bench, 3)
    for lease in leases:
        await bench.launches.records.cancel(lease.job_id)
    stuck = f"job-{leases[0].job_id}-1"
    bench.kube.fails("delete", stuck, 500)

    await bench.attendant.attend(leases)

    assert [job["metadata"]["name"] for job in bench.jobs] == [stuck]
    bench.kube.recovers()
    bench.start(bench.attendant.run())
    await until(lambda: not bench.jobs, "it was deleted, too")


async def test_an_unexpected_error_ends_neither_the_loop_nor_the_others_of_its_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    leases = await launched(bench, 3)
    for lease in leases:
        await bench.launches.records.cancel(lease.job_id)

    def fails_for_one(job, launch, *rest, **more):  # type: ignore[no-untyped-def]
        if launch is not None and launch.lease == leases[0]:
            raise RuntimeError("unforeseen")
        return judge(job, launch, *rest, **more)

    monkeypatch.setattr(attendant, "judge", fails_for_one)
    caplog.set_level(logging.ERROR)
    bench.start(bench.attendant.run())
    for lease in leases:
        bench.attendant.look_at(lease)

    await until(lambda: len(bench.jobs) == 1, "the others were deleted")
    assert "attending to it went wrong" in caplog.text


async def test_it_is_heard_of_while_it_waits(bench: Bench) -> None:
    bench.start(bench.attendant.run())
    await asyncio.sleep(0.05)

    assert bench.health.loops == ["attend"]


async def test_a_row_without_its_job_gets_it_and_a_job_without_its_row_goes(bench: Bench) -> None:
    (lease,) = await launched(bench)
    (job,) = bench.jobs
    orphan = jobs_path("jobs", "job-orphan-1")
    bench.kube.objects[orphan] = {
        **job,
        "metadata": {
            **job["metadata"],
            "name": "job-orphan-1",
            "uid": "orphan",
            "labels": {**job["metadata"]["labels"], "server-jobs.dev/job-id": "orphan"},
        },
    }
    await bench.kube.delete(jobs_path("jobs", job["metadata"]["name"]), job["metadata"]["uid"])

    await bench.reconciler.reconcile()
    await bench.launcher.finish(10)
    await bench.attendant.attend([Lease("orphan", 1)])

    assert [one["metadata"]["name"] for one in bench.jobs] == [f"job-{lease.job_id}-1"]


async def test_a_list_that_fails_means_that_nothing_is_known(bench: Bench) -> None:
    (lease,) = await launched(bench)
    before = await bench.record(lease.job_id)
    bench.kube.fails("list", "/jobs/jobs", 500)

    with pytest.raises(Exception, match="list"):
        await bench.reconciler.reconcile()

    assert await bench.record(lease.job_id) == before
    assert bench.kube.called("delete") == 0
