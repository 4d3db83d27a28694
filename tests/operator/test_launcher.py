"""Launching: how much is claimed and for whom, and what becomes of a Job that can't be created."""

import logging
import math
import time
from dataclasses import replace
from typing import Any

import pytest

from server_jobs import JobStatus
from server_jobs.errors import DataRefusedError
from server_jobs.launches.launch import Launch
from server_jobs.records.rows import Claim
from server_jobs_operator.cluster.names import FENCE, INSTALL, JOB_ID, jobs_path
from server_jobs_operator.launches.manifest import job_manifest
from tests.operator.bench import Bench
from tests.operator.samples import launch, runner

# ── how much ─────────────────────────────────────────────────────────────────────────────────


async def test_what_is_claimed_becomes_a_job(bench: Bench) -> None:
    bench.serve(runner())
    (job_id,) = await bench.enqueue()

    assert await bench.launch() == 1

    (job,) = bench.jobs
    assert job["metadata"]["name"] == f"job-{job_id}-1"
    record = await bench.record(job_id)
    assert (record.status, record.worker_id) == (JobStatus.RUNNING, "k8s/here/jobs/default")
    assert bench.figure('server_jobs_claims_total{namespace="jobs",runner="default"}') == 1


async def test_no_more_is_in_flight_than_a_runner_may_have(bench: Bench) -> None:
    bench.serve(runner(maxConcurrency=3))
    await bench.enqueue(10)

    assert (await bench.launch(), await bench.launch()) == (3, 0)

    assert len(bench.jobs) == 3


async def test_one_that_ends_makes_room_for_another(bench: Bench) -> None:
    bench.serve(runner(maxConcurrency=1))
    await bench.enqueue(2)
    await bench.launch()

    await bench.job_ends(bench.jobs[0])
    await bench.view.relist("jobs")

    assert await bench.launch() == 1


async def test_no_more_is_in_flight_than_all_runners_may_have(bench: Bench) -> None:
    bench = bench.with_settings(max_jobs=5)
    bench.serve(runner("a", queues=["a"]), runner("b", queues=["b"]))
    await bench.enqueue(10, queue="a")
    await bench.enqueue(10, queue="b")

    await bench.launch()

    assert len(bench.jobs) == 5


async def test_what_is_being_created_takes_room_too(bench: Bench) -> None:
    bench.serve(runner(maxConcurrency=3))
    await bench.view.relist("jobs")
    await bench.enqueue(10)
    bench.kube.creating.clear()

    assert (await bench.launcher.claim(), await bench.launcher.claim()) == (3, 0)

    bench.kube.creating.set()
    await bench.launcher.finish(10)
    assert len(bench.jobs) == 3


async def test_no_more_are_created_a_second_than_is_set(bench: Bench) -> None:
    bench = bench.with_settings(creates_per_second=20.0)
    bench.serve(runner(maxConcurrency=100))
    await bench.enqueue(30)

    began = time.monotonic()
    await bench.launch()

    # What a second of rest has saved may go at once, the others one after the other.
    assert time.monotonic() - began >= (30 - 21) / 20
    assert len(bench.jobs) == 30


async def test_what_cannot_be_created_soon_is_left_for_others(bench: Bench) -> None:
    bench = bench.with_settings(creates_per_second=1.0)
    bench.serve(runner(maxConcurrency=1_000))
    await bench.view.relist("jobs")
    await bench.enqueue(100)
    bench.kube.creating.clear()

    assert await bench.launcher.claim() == 15

    bench.kube.creating.set()


async def test_queues_take_turns(bench: Bench) -> None:
    bench.serve(runner(queues=["full", "small"], maxConcurrency=2))
    await bench.enqueue(100, queue="full")
    await bench.enqueue(4, queue="small")

    await bench.rounds(4)

    assert bench.by_queue() == {"full": 4, "small": 4}


async def test_runners_take_turns(bench: Bench) -> None:
    bench = bench.with_settings(max_jobs=2)
    bench.serve(runner("a", queues=["a"]), runner("b", queues=["b"]))
    await bench.enqueue(100, queue="a")
    await bench.enqueue(100, queue="b")

    await bench.rounds(4)

    assert bench.by_runner() == {"a": 4, "b": 4}


async def test_a_paused_runner_claims_nothing(bench: Bench) -> None:
    bench.serve(runner(paused=True))
    await bench.enqueue()

    assert await bench.launch() == 0


async def test_a_leader_that_is_about_to_leave_claims_nothing(bench: Bench) -> None:
    bench.serve(runner())
    await bench.enqueue()

    bench.launcher.draining = True

    assert await bench.launch() == 0


# ── what the API server refuses ──────────────────────────────────────────────────────────────


async def test_a_quota_is_waited_for_and_costs_nothing(bench: Bench) -> None:
    bench.serve(runner())
    (job_id,) = await bench.enqueue()
    bench.kube.refuses("exceeded quota: team")

    await bench.launch()

    record = await bench.record(job_id)
    assert (record.status, record.attempt_count, record.launch_failures) == (
        JobStatus.PENDING,
        0,
        0,
    )
    assert 25 < (record.scheduled_for - record.updated_at).total_seconds() <= 30
    assert record.progress_message is not None
    assert "exceeded quota" in record.progress_message
    assert bench.reasons() == {}


async def test_a_runner_out_of_quota_claims_nothing_more_for_a_while(bench: Bench) -> None:
    bench.serve(runner("poor", queues=["poor"]), runner("rich", queues=["rich"]))
    await bench.enqueue(1, queue="poor")
    bench.kube.refuses("exceeded quota: team")
    await bench.launch()
    bench.kube.recovers()

    await bench.enqueue(1, queue="poor")
    await bench.enqueue(1, queue="rich")
    await bench.launch()

    assert bench.by_queue() == {"rich": 1}


async def test_being_refused_is_told_once_until_a_job_is_taken_again(bench: Bench) -> None:
    bench.serve(runner())
    for message in ("used: 10", "used: 11"):
        await bench.enqueue(2)
        bench.kube.refuses(f"exceeded quota, {message}")
        await bench.launch()
        bench.launcher._refused_until.clear()  # the time is over
        bench.kube.recovers()
        bench.kube.refuses(f"exceeded quota, {message} ")
    assert await bench.settle_events() == [("JobRunner", "LaunchesRefused")]

    bench.kube.recovers()
    await bench.enqueue()
    await bench.launch()
    await bench.enqueue()
    bench.kube.refuses("exceeded quota, again")
    await bench.launch()

    assert await bench.settle_events() == [("JobRunner", "LaunchesRefused")] * 2


async def test_of_a_runner_that_was_refused_a_sample_goes_first(bench: Bench) -> None:
    bench.serve(runner())
    await bench.enqueue(5)
    bench.kube.refuses("a policy that came later")
    await bench.launch()
    asked = bench.kube.called("create", "/jobs/jobs")

    bench.launcher._refused_until.clear()  # the time is over
    (new,) = await bench.enqueue()
    await bench.rounds(3)

    assert bench.kube.called("create", "/jobs/jobs") == asked
    assert (await bench.record(new)).fence == 0

    bench.kube.recovers()
    bench.launcher._refused_until.clear()
    await bench.rounds(2)
    assert (await bench.record(new)).fence == 1
    assert bench.launcher.refusal(next(iter(bench.table))) is None


async def test_a_quota_that_has_room_again_when_the_sample_asks_costs_nothing(
    bench: Bench,
) -> None:
    bench.serve(runner())
    (job_id,) = await bench.enqueue()
    said = f'jobs.batch "job-{job_id}-1" is forbidden: exceeded quota: team, requested: 1'
    bench.kube.fails("create", "/jobs/jobs", 403, said, "Forbidden")

    await bench.launch()

    record = await bench.record(job_id)
    assert (record.status, record.launch_failures) == (JobStatus.PENDING, 0)


async def test_one_that_is_made_anew_inherits_no_refusal(bench: Bench) -> None:
    bench.serve(runner())
    await bench.enqueue()
    bench.kube.refuses("a policy")
    await bench.launch()
    bench.kube.recovers()
    bench.table.drop("jobs", "default")
    await bench.launch()

    bench.serve(runner())
    await bench.enqueue()
    assert await bench.launch() == 1


async def test_a_record_that_cannot_be_settled_fails_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.serve(runner())
    (job_id,) = await bench.enqueue(runtime='{"memory": "0"}')

    async def refuses(outcomes: Any) -> Any:
        raise DataRefusedError("no such text")

    monkeypatch.setattr(bench.launches.records, "settle", refuses)
    await bench.launch()

    record = await bench.record(job_id)
    assert record.status is JobStatus.FAILED
    assert [error.type for error in record.attempt_errors] == ["invalid_row"]
    (other,) = await bench.enqueue()
    await bench.launch()
    assert (await bench.record(other)).status is JobStatus.RUNNING


async def test_what_a_records_own_words_say_in_a_refusal_counts_for_nothing(bench: Bench) -> None:
    bench.serve(runner(maxLaunchFailures=1))
    (job_id,) = await bench.enqueue()
    (good,) = await bench.enqueue(queue="default")
    message = 'denied: image " cannot exceeded quota: being terminated"'
    bench.kube.fails("create", "/jobs/jobs", 403, message, "Forbidden")

    await bench.launch()

    assert (await bench.record(job_id)).status is JobStatus.FAILED
    bench.kube.recovers()
    (later,) = await bench.enqueue()
    await bench.launch()
    assert (await bench.record(later)).status is JobStatus.RUNNING
    assert (await bench.record(good)).status is JobStatus.FAILED


async def test_a_job_that_the_api_server_refuses_costs_a_launch_and_is_told(bench: Bench) -> None:
    bench.serve(runner(maxLaunchFailures=1))
    (job_id,) = await bench.enqueue()
    bench.kube.fails("create", "/jobs/jobs", 422, "spec.template is wrong", "Invalid")

    await bench.launch()

    record = await bench.record(job_id)
    assert (record.status, record.launch_failures) == (JobStatus.FAILED, 1)
    assert [error.type for error in record.attempt_errors] == ["config_error"]
    assert bench.reasons() == {"config_error": 1}
    assert await bench.settle_events() == [("JobRunner", "ConfigError")]


async def test_a_runtime_that_is_not_given_costs_a_launch_and_is_told(bench: Bench) -> None:
    bench.serve(runner(caps={"memory": "1Gi"}))
    (job_id,) = await bench.enqueue(runtime='{"memory": "8Gi"}')

    await bench.launch()

    record = await bench.record(job_id)
    assert (record.status, record.launch_failures) == (JobStatus.PENDING, 1)
    assert bench.reasons() == {"invalid_runtime": 1}
    assert await bench.settle_events() == [("JobRunner", "InvalidRuntime")]
    (event,) = bench.kube.all("events")
    assert "caps it at 1Gi; change the job's runtime=" in event["message"]


async def test_a_record_of_which_no_job_can_be_made_fails_by_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.serve(runner())
    (endless,) = await bench.enqueue(timeout_seconds=60.0)
    (good,) = await bench.enqueue()
    claim = bench.launches.claim

    async def with_an_endless_timeout(*asked: Any, **wanted: Any) -> list[Launch]:
        claimed = await claim(*asked, **wanted)
        return [replace(one, timeout_seconds=one.timeout_seconds and math.inf) for one in claimed]

    monkeypatch.setattr(bench.launches, "claim", with_an_endless_timeout)

    await bench.launch()

    record = await bench.record(endless)
    assert (record.status, record.launch_failures) == (JobStatus.PENDING, 1)
    (error,) = record.attempt_errors
    assert (error.type, "OverflowError" in error.message) == ("invalid_runtime", True)
    assert (await bench.record(good)).status is JobStatus.RUNNING
    assert [job["metadata"]["labels"][JOB_ID] for job in bench.jobs] == [good]


async def test_the_same_is_not_said_again_and_again_and_yet_counted(bench: Bench) -> None:
    bench.serve(runner(caps={"memory": "1Gi"}))
    await bench.enqueue(5, runtime='{"memory": "8Gi"}')

    await bench.launch()

    assert bench.reasons() == {"invalid_runtime": 5}
    assert len(await bench.settle_events()) == 1


async def test_an_api_server_that_is_away_leaves_the_record_claimed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server_jobs_operator.launches.create._TRIES", 1)
    bench.serve(runner())
    (job_id,) = await bench.enqueue()
    bench.kube.fails("create", "/jobs/jobs", 503)
    await bench.launch()
    assert (await bench.record(job_id)).status is JobStatus.RUNNING

    bench.kube.recovers()
    await bench.reconciler.reconcile()
    await bench.launcher.finish(10)

    assert [job["metadata"]["name"] for job in bench.jobs] == [f"job-{job_id}-1"]


# ── adoption ─────────────────────────────────────────────────────────────────────────────────


async def test_a_job_of_ours_that_is_there_already_is_adopted(bench: Bench) -> None:
    job_id = await _there_already(bench)

    await bench.launch()

    assert (await bench.record(job_id)).status is JobStatus.RUNNING
    assert bench.view.of(Claim(job_id, 1)) is not None
    assert len(bench.jobs) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job.update(status={"conditions": [{"type": "Failed", "status": "True"}]}),
        lambda job: job.update(status={"conditions": [{"type": "Complete", "status": "True"}]}),
        lambda job: job["metadata"].update(deletionTimestamp="2027-01-01T12:00:00Z"),
        lambda job: job["metadata"]["labels"].update({INSTALL: "theirs"}),
        lambda job: job["metadata"]["labels"].update({JOB_ID: "another"}),
        lambda job: job["metadata"]["labels"].update({FENCE: "7"}),
    ],
    ids=["failed", "complete", "terminating", "foreign", "another job", "another fence"],
)
async def test_a_job_that_cannot_be_ours_any_more_is_left_and_the_record_claimed_anew(
    bench: Bench, change: Any
) -> None:
    job_id = await _there_already(bench)
    await bench.kube.change(jobs_path("jobs", f"job-{job_id}-1"), change)

    await bench.launch()
    record = await bench.record(job_id)
    assert (record.status, record.release_count) == (JobStatus.PENDING, 0)
    assert (record.attempt_count, record.launch_failures) == (0, 0)

    await bench.launch()
    assert f"job-{job_id}-2" in [job["metadata"]["name"] for job in bench.jobs]


# ── lines ────────────────────────────────────────────────────────────────────────────────────


async def test_the_line_of_a_launch_names_all_that_one_would_search_for(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.serve(runner())
    (job_id,) = await bench.enqueue()

    await bench.launch()

    (line,) = [one for one in caplog.records if "created" in one.getMessage()]
    fields = {
        name: getattr(line, name)
        for name in ("job_id", "fence", "kubernetes_job", "namespace", "runner")
    }
    assert fields == {
        "job_id": job_id,
        "fence": 1,
        "kubernetes_job": f"job-{job_id}-1",
        "namespace": "jobs",
        "runner": "default",
    }


async def _there_already(bench: Bench) -> str:
    """A record to be claimed whose first Job somebody has created."""
    of = runner()
    bench.serve(of)
    (job_id,) = await bench.enqueue()
    body = job_manifest(launch(id=job_id, fence=1), of, bench.settings)
    await bench.kube.create(jobs_path("jobs"), body)
    return job_id
