"""What may not be launched just now waits: for quota, a free slot, a permission, or a pause."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from server_jobs import JobStatus
from server_jobs.records.rows import JobRecord
from server_jobs.store.store import Store
from tests.e2e.app.jobs import double, gate, sleep
from tests.e2e.conftest import job_runner
from tests.e2e.support.account import kubeconfig_of, role
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.operator_process import OperatorProcess
from tests.e2e.support.waiting import (
    begun,
    condition_when,
    event_on,
    over,
    record_when,
    until,
    until_no_orphans,
    until_served,
)

pytestmark = pytest.mark.timeout(300)

ALL_BUT_CREATE = ("get", "list", "watch", "patch", "delete")


async def test_jobs_that_a_quota_has_no_room_for_wait_and_are_charged_nothing(
    operator: OperatorProcess, namespace: Kubectl, store: Store, image: str
) -> None:
    namespace.apply(job_runner(image, ttlSecondsAfterFinished=0))
    await until_served(namespace)
    namespace.run("create", "quota", "few", "--hard=count/jobs.batch=2")
    await until(lambda: "status" in namespace.get("quota", "few"))

    ids = await double.later_many([{"n": n} for n in range(6)])
    records = [await record_when(store, job_id, over, 200) for job_id in ids]

    assert [record.result for record in records] == [str(2 * n) for n in range(6)]
    charged = {(one.launch_failures, one.attempt_count, one.error) for one in records}
    assert charged == {(0, 1, None)}
    assert any(one.fence > 1 for one in records), "the quota has refused none"
    assert "exceeded quota: few" in await event_on(namespace, "JobRunner", "e2e", "LaunchesRefused")


async def test_no_more_jobs_are_in_flight_than_max_concurrency_says(
    operator: OperatorProcess, namespace: Kubectl, store: Store, image: str
) -> None:
    namespace.apply(job_runner(image, maxConcurrency=3))
    await until_served(namespace)

    ids = await sleep.later_many([{"seconds": 1} for _ in range(9)])
    for job_id in ids:
        await record_when(store, job_id, over)

    await until_no_orphans(namespace)
    assert most_at_once(namespace.all("jobs")) == 3


def most_at_once(jobs: list[dict[str, Any]]) -> int:
    """How many Jobs there were that hadn't ended, by the API server's clock, at the worst time."""
    began = [datetime.fromisoformat(job["metadata"]["creationTimestamp"]) for job in jobs]
    ended = [datetime.fromisoformat(job["status"]["completionTime"]) for job in jobs]
    spans = list(zip(began, ended, strict=True))
    return max(sum(first <= moment < last for first, last in spans) for moment in began)


async def test_a_paused_runner_finishes_what_runs_and_claims_nothing_more(
    operator: OperatorProcess, namespace: Kubectl, store: Store, image: str
) -> None:
    gate.close()
    running = await gate.job.later({"n": 5})
    await record_when(store, running, begun)
    namespace.apply(job_runner(image, "other", queues=["other"]))
    namespace.apply(job_runner(image, paused=True))
    draining = await condition_when(namespace, "jobrunner", "e2e", "Ready", "False", "Draining")
    assert "1 in flight" in draining["message"]

    waiting = await double.later({"n": 1})
    # Enqueued after it, and served: the operator has been round.
    later = await double.later({"n": 2}, queue="other")
    await record_when(store, later, over)
    untouched = await store.get(waiting)
    assert (untouched.status, untouched.fence) == (JobStatus.PENDING, 0)

    gate.open()
    assert (await record_when(store, running, over)).result == "5"
    await condition_when(namespace, "jobrunner", "e2e", "Ready", "False", "Paused")
    assert (await store.get(waiting)).fence == 0

    namespace.apply(job_runner(image))
    assert (await record_when(store, waiting, over)).result == "2"
    await condition_when(namespace, "jobrunner", "e2e", "Ready", "True")


async def test_a_job_that_is_not_admitted_keeps_its_claim_until_it_is(
    namespace: Kubectl, store: Store, image: str, server_url: str, tmp_path: Path
) -> None:
    """Kueue itself is not here: this test resumes the Job, as Kueue does on admission."""
    lease_seconds = 10
    namespace.apply(job_runner(image, kueue={"queueName": "team-a"}, launchTimeoutSeconds=15))
    process = OperatorProcess(tmp_path, namespace.namespace, server_url)
    with process.running("--lease", str(lease_seconds)):
        job_id = await double.later({"n": 4})
        name = f"job-{job_id}-1"
        claimed = await record_when(store, job_id, lambda one: one.worker_expires_at is not None)
        first = claimed.worker_expires_at
        assert first is not None

        # It holds for longer than launchTimeoutSeconds, too: suspended time doesn't count.
        def held_for_long(now: JobRecord) -> bool:
            expires = now.worker_expires_at
            return expires is not None and (expires - first).total_seconds() > 15

        held = await record_when(store, job_id, held_for_long)
        assert (held.status, held.fence, held.launch_failures) == (JobStatus.RUNNING, 1, 0)
        job = namespace.get("job", name)
        assert job["spec"]["suspend"] is True
        assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
        assert namespace.all("pods") == []

        namespace.run("patch", "job", name, "--type=merge", "-p", '{"spec":{"suspend":false}}')
        record = await record_when(store, job_id, over)

    assert (record.status, record.result, record.fence) == (JobStatus.COMPLETED, "8", 1)
    assert (record.attempt_count, record.launch_failures) == (1, 0)


@pytest.fixture
def unpermitted(namespace: Kubectl, tmp_path: Path) -> Path:
    """A kubeconfig of an account that may do all that the operator does but create Jobs."""
    namespace.apply(role("operator", jobs=ALL_BUT_CREATE))
    account = f"--serviceaccount={namespace.namespace}:default"
    namespace.run("create", "rolebinding", "operator", "--role=operator", account)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(kubeconfig_of(namespace, "default")))
    return kubeconfig


async def test_without_the_permission_to_create_jobs_they_wait_until_it_is_given(
    namespace: Kubectl,
    store: Store,
    image: str,
    server_url: str,
    unpermitted: Path,
    tmp_path: Path,
) -> None:
    namespace.apply(job_runner(image))
    verb = 'cannot create resource "jobs"'
    process = OperatorProcess(tmp_path, namespace.namespace, server_url, unpermitted)
    with process.running():
        process.wait_until_ready()
        job_id = await double.later({"n": 3})

        told = await condition_when(namespace, "jobrunner", "e2e", "TemplateValid", "Unknown")
        assert verb in told["message"]
        await until(lambda: any(verb in line["event"] for line in process.lines))
        waiting = await record_when(store, job_id, given_back)
        assert (waiting.attempt_count, waiting.launch_failures, waiting.error) == (0, 0, None)

        namespace.apply(role("operator", jobs=(*ALL_BUT_CREATE, "create")))
        record = await record_when(store, job_id, over)
        await condition_when(namespace, "jobrunner", "e2e", "TemplateValid", "True")

    assert (record.status, record.result, record.launch_failures) == (JobStatus.COMPLETED, "6", 0)


def given_back(record: JobRecord) -> bool:
    """Claimed, and pending again."""
    return record.fence > 0 and record.status is JobStatus.PENDING
