"""Records become Kubernetes Jobs, and whatever becomes of those is what the records say."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from server_jobs import JobStatus
from server_jobs.store import Store
from tests.e2e.app.jobs import (
    double,
    eat,
    greedy,
    leave,
    registry,
    sleep,
    timed,
    unknown,
)
from tests.e2e.conftest import job_runner
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.operator_process import OperatorProcess
from tests.e2e.support.waiting import (
    begun,
    errors,
    over,
    record_when,
    until,
    until_gone,
    until_served,
)


async def test_a_record_becomes_a_job_whose_pod_executes_it(
    operator: OperatorProcess, namespace: Kubectl, store: Store
) -> None:
    job_id = await double.later({"n": 21})

    record = await record_when(store, job_id, over)

    assert (record.status, record.result, record.attempt_count) == (JobStatus.COMPLETED, "42", 1)
    assert str(record.worker_id).startswith(f"k8s/{namespace.namespace}/{namespace.namespace}/e2e/")
    (job,) = namespace.all("jobs")
    assert job["metadata"]["name"] == f"job-{job_id}-1"
    assert "postgresql://" not in str(job), "a password mustn't stand in a Job"
    assert 'server_jobs_launches_total{namespace="' in operator.metrics


async def test_many_records_are_each_executed_once(
    operator: OperatorProcess, namespace: Kubectl, store: Store
) -> None:
    ids = await double.later_many([{"n": n} for n in range(30)])

    records = [await record_when(store, job_id, over, 180) for job_id in ids]

    assert [record.result for record in records] == [str(2 * n) for n in range(30)]
    assert {(record.fence, record.attempt_count) for record in records} == {(1, 1)}


@pytest.mark.parametrize(
    ("start", "status", "reason", "attempts"),
    [
        (lambda: leave.later({"n": 3}), JobStatus.FAILED, "exit_code", 1),
        (lambda: timed.later({"seconds": 60}), JobStatus.FAILED, "TimedOut", 1),
        (lambda: eat.later({"n": 150}, max_attempts=1), JobStatus.FAILED, "oom_killed", 1),
    ],
    ids=["exit code", "timeout", "out of memory"],
)
async def test_a_handler_that_goes_wrong_costs_an_attempt_and_the_record_says_why(
    operator: OperatorProcess,
    store: Store,
    start: Callable[[], "asyncio.Future[str]"],
    status: JobStatus,
    reason: str,
    attempts: int,
) -> None:
    job_id = await start()

    record = await record_when(store, job_id, over)

    assert (record.status, errors(record), record.attempt_count) == (status, [reason], attempts)
    assert record.launch_failures == 0


async def test_a_job_that_ran_out_of_memory_gets_more_the_next_time(
    operator: OperatorProcess, namespace: Kubectl, store: Store
) -> None:
    job_id = await eat.later({"n": 150})

    record = await record_when(store, job_id, over)

    assert record.status is JobStatus.COMPLETED
    assert set(errors(record)) == {"oom_killed"}
    limits = [
        job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
        for job in sorted(namespace.all("jobs"), key=lambda job: str(job["metadata"]["name"]))
    ]
    assert limits[:2] == ["96Mi", str(192 * 1024**2)]


@pytest.mark.parametrize(
    ("start", "reason", "says"),
    [
        (lambda: unknown.later({}), "unknown_job", "there is no job 'Unknown'"),
        (lambda: greedy.later({}), "invalid_runtime", "JobRunner e2e caps it at 2"),
    ],
    ids=["unknown job", "above the caps"],
)
async def test_what_cannot_be_launched_costs_a_launch_and_no_attempt(
    operator: OperatorProcess,
    store: Store,
    start: Callable[[], "asyncio.Future[str]"],
    reason: str,
    says: str,
) -> None:
    job_id = await start()

    record = await record_when(store, job_id, lambda record: record.launch_failures > 0)

    assert (errors(record)[0], record.attempt_count) == (
        reason,
        record.fence - record.launch_failures,
    )
    assert says in record.attempt_errors[0].message


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"image": "localhost/no-such-image:1", "imagePullPolicy": "Never"}, "image_pull"),
        ({"database": {"secretRef": {"name": "no-such-secret"}}}, "config_error"),
        (
            {
                "template": {"spec": {"nodeSelector": {"no": "such-node"}}},
                "launchTimeoutSeconds": 5,
            },
            "unschedulable",
        ),
    ],
    ids=["image", "secret", "node"],
)
async def test_a_pod_that_cannot_begin_costs_a_launch(
    operator: OperatorProcess,
    namespace: Kubectl,
    store: Store,
    image: str,
    spec: dict[str, Any],
    reason: str,
) -> None:
    namespace.apply(job_runner(image, **({"maxLaunchFailures": 1} | spec)))
    await until_served(namespace)

    job_id = await double.later({"n": 1})
    record = await record_when(store, job_id, over)

    assert (record.status, errors(record)) == (JobStatus.FAILED, [reason])
    assert (record.attempt_count, record.launch_failures) == (0, 1)
    assert reason in operator.log


async def test_cancelling_a_running_job_stops_its_pod(
    operator: OperatorProcess, namespace: Kubectl, store: Store
) -> None:
    job_id = await sleep.later({"seconds": 300})
    await record_when(store, job_id, begun)

    await store.cancel(job_id)

    record = await record_when(store, job_id, over)
    assert record.status is JobStatus.CANCELLED
    await until_gone(namespace)


async def test_a_pod_deleted_by_force_gives_its_job_to_another(
    operator: OperatorProcess, namespace: Kubectl, store: Store
) -> None:
    job_id = await sleep.later({"seconds": 8})
    await record_when(store, job_id, begun)

    namespace.run("delete", "pods", "--all", "--force", "--grace-period=0")

    record = await record_when(store, job_id, over)
    assert record.status is JobStatus.COMPLETED
    assert record.fence == 2


async def test_a_job_deleted_by_hand_is_lost_or_given_back_and_runs_again(
    operator: OperatorProcess, namespace: Kubectl, store: Store
) -> None:
    job_id = await sleep.later({"seconds": 5})
    await record_when(store, job_id, begun)

    namespace.run("delete", "jobs", "--all", "--wait=false")

    record = await record_when(store, job_id, over)
    assert (record.status, record.fence) == (JobStatus.COMPLETED, 2)


async def test_a_job_suspended_in_the_middle_and_resumed_runs_its_handler_once(
    operator: OperatorProcess, namespace: Kubectl, store: Store
) -> None:
    """The second pod of the same launch has nothing to do; the job goes on under a new one."""
    job_id = await sleep.later({"seconds": 5})
    await record_when(store, job_id, begun)
    name = f"job-{job_id}-1"

    with operator.frozen():  # or it would delete the Job before it could be resumed
        namespace.run("patch", "job", name, "--type=merge", "-p", '{"spec":{"suspend":true}}')
        await record_when(store, job_id, lambda record: record.release_count == 1)
        namespace.run("patch", "job", name, "--type=merge", "-p", '{"spec":{"suspend":false}}')
        await until(lambda: namespace.condition("job", name, "Complete").get("status") == "True")
        idle = await store.get(job_id)
        assert (idle.status, idle.fence) == (JobStatus.PENDING, 1)

    record = await record_when(store, job_id, over)
    assert (record.status, record.attempt_count, record.fence) == (JobStatus.COMPLETED, 1, 2)


async def test_an_operator_that_is_killed_leaves_what_its_successor_takes_up(
    operator: OperatorProcess, namespace: Kubectl, store: Store
) -> None:
    ids = await sleep.later_many([{"seconds": 3} for _ in range(12)])
    for _ in range(3):
        await asyncio.sleep(2)
        operator.kill()
        operator.start()

    records = [await record_when(store, job_id, over, 180) for job_id in ids]

    assert {record.status for record in records} == {JobStatus.COMPLETED}
    assert {record.attempt_count for record in records} == {1}
    assert operator.terminate() == 0


async def test_a_runner_of_kueue_makes_jobs_that_wait_to_be_admitted(
    operator: OperatorProcess, namespace: Kubectl, store: Store, image: str
) -> None:
    """Kueue itself is not here: this test resumes the Job, as Kueue does on admission."""
    namespace.apply(job_runner(image, kueue={"queueName": "team-a"}))
    await until_served(namespace)

    job_id = await double.later({"n": 4})
    name = f"job-{job_id}-1"
    await until(lambda: any(job["metadata"]["name"] == name for job in namespace.all("jobs")))
    job = namespace.get("job", name)
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    namespace.run("patch", "job", name, "--type=merge", "-p", '{"spec":{"suspend":false}}')

    assert (await record_when(store, job_id, over)).result == "8"


def test_the_registry_has_every_job_but_one() -> None:
    assert unknown.name not in registry.get_names()
