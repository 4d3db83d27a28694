"""Records become Kubernetes Jobs, and whatever becomes of those is what the records say."""

import asyncio

import pytest

from server_jobs import JobStatus
from server_jobs.store.store import Store
from tests.e2e.app.jobs import double, eat, gate, leave, registry, sleep, timed, unknown
from tests.e2e.conftest import job_runner
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.operator_process import OperatorProcess
from tests.e2e.support.waiting import (
    begun,
    errors,
    event_on,
    over,
    record_when,
    until,
    until_gone,
    until_no_orphans,
    until_served,
)

pytestmark = pytest.mark.timeout(300)

ORDINARY = {"SuccessfulCreate", "Completed"}
"""What Kubernetes itself tells of a Job that goes well."""


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


async def test_a_handler_that_goes_wrong_costs_an_attempt_and_the_record_says_why(
    operator: OperatorProcess, namespace: Kubectl, store: Store
) -> None:
    ids = {
        "exit_code": await leave.later({"n": 3}),
        "timed_out": await timed.later({"seconds": 60}),
        "oom_killed": await eat.later({"n": 150}, max_attempts=1),
    }

    for reason, job_id in ids.items():
        record = await record_when(store, job_id, over)
        assert (record.status, errors(record)) == (JobStatus.FAILED, [reason])
        assert (record.attempt_count, record.launch_failures) == (1, 0)

    left = await event_on(namespace, "Job", f"job-{ids['exit_code']}-1", "ExitCode")
    assert "ended with exit status 3" in left
    await event_on(namespace, "Job", f"job-{ids['oom_killed']}-1", "OomKilled")
    # Its runner has seen to that one itself: nothing is wrong with its Job.
    assert namespace.events("Job", f"job-{ids['timed_out']}-1").keys() <= ORDINARY
    await until_no_orphans(namespace)


async def test_a_job_that_ran_out_of_memory_gets_more_the_next_time_up_to_the_cap(
    operator: OperatorProcess, namespace: Kubectl, store: Store, image: str
) -> None:
    namespace.apply(job_runner(image, caps={"memory": "320Mi"}))
    await until_served(namespace)

    job_id = await eat.later({"n": 100})

    record = await record_when(store, job_id, over)
    assert (record.status, record.attempt_count) == (JobStatus.COMPLETED, 3)
    assert errors(record) == ["oom_killed", "oom_killed"]
    limits = [
        job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
        for job in sorted(namespace.all("jobs"), key=lambda job: str(job["metadata"]["name"]))
    ]
    # Twice 192 would be 384.
    assert limits == ["96Mi", str(192 * 1024**2), str(320 * 1024**2)]


async def test_a_job_that_is_over_goes_after_its_runners_time_to_live(
    operator: OperatorProcess, namespace: Kubectl, store: Store, image: str
) -> None:
    namespace.apply(job_runner(image, ttlSecondsAfterFinished=20))
    await until_served(namespace)
    gate.close()
    job_id = await gate.job.later({"n": 1})
    await record_when(store, job_id, begun)
    name = f"job-{job_id}-1"
    # Until its record is known to be settled, it is kept for whoever looks for it.
    assert namespace.get("job", name)["spec"]["ttlSecondsAfterFinished"] == 86_400

    gate.open()
    await record_when(store, job_id, over)

    await until_no_orphans(namespace, ttl=20)
    assert namespace.get("job", name)["spec"]["ttlSecondsAfterFinished"] == 20
    await until_gone(namespace)


async def test_cancelling_a_running_job_stops_its_pod(
    operator: OperatorProcess, namespace: Kubectl, store: Store
) -> None:
    job_id = await sleep.later({"seconds": 300})
    await record_when(store, job_id, begun)

    await store.cancel(job_id)

    record = await record_when(store, job_id, over)
    assert record.status is JobStatus.CANCELLED
    await until_gone(namespace)


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
    await until_no_orphans(namespace)


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
    await until_no_orphans(namespace)
    assert operator.terminate() == 0


def test_the_registry_has_every_job_but_one() -> None:
    assert unknown.name not in registry.get_names()
