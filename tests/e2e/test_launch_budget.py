"""What can't begin costs a launch and no attempt, until the JobRunner's budget is spent."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from server_jobs import JobStatus
from server_jobs.store.store import Store
from server_jobs_operator.cluster.reasons import WAY_OUT, Reason
from tests.e2e.app.jobs import double, greedy, unknown
from tests.e2e.conftest import job_runner
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.operator_process import OperatorProcess
from tests.e2e.support.waiting import errors, event_on, over, record_when, until_served

pytestmark = pytest.mark.timeout(300)

UNLAUNCHABLE: dict[Reason, dict[str, Any]] = {
    Reason.IMAGE_PULL: {"image": "localhost/no-such-image:1", "imagePullPolicy": "Never"},
    Reason.CONFIG_ERROR: {"database": {"secretRef": {"name": "no-such-secret"}}},
    Reason.UNSCHEDULABLE: {
        "template": {"spec": {"nodeSelector": {"no": "such-node"}}},
        "launchTimeoutSeconds": 3,
    },
}


async def test_a_pod_that_cannot_begin_is_tried_as_often_as_its_runner_says(
    operator: OperatorProcess, namespace: Kubectl, store: Store, image: str
) -> None:
    """A runner each, all at once: between two launches there is a back-off."""
    budget = {"maxLaunchFailures": 2, "launchPatienceSeconds": 1}
    ids = {}
    for reason, spec in UNLAUNCHABLE.items():
        queue = str(reason).replace("_", "-")
        namespace.apply(job_runner(image, queue, **({"queues": [queue]} | budget | spec)))
        await until_served(namespace, queue)
        ids[reason] = await double.later({"n": 1}, queue=queue)

    for reason, job_id in ids.items():
        record = await record_when(store, job_id, over)
        assert (record.status, errors(record)) == (JobStatus.FAILED, [reason, reason])
        assert (record.attempt_count, record.launch_failures, record.fence) == (0, 2, 2)
        assert WAY_OUT[reason] in (record.error or "")
        event = str(reason).title().replace("_", "")
        for fence in (1, 2):
            told = await event_on(namespace, "Job", f"job-{job_id}-{fence}", event)
            assert WAY_OUT[reason] in told
        assert operator.figure("reasons_total", reason=reason) == 2


@pytest.mark.parametrize(
    ("start", "reason", "says"),
    [
        (lambda: unknown.later({}), Reason.UNKNOWN_JOB, "there is no job 'Unknown'"),
        (lambda: greedy.later({}), Reason.INVALID_RUNTIME, "JobRunner e2e caps it at 2"),
    ],
    ids=["unknown job", "above the caps"],
)
async def test_what_a_runner_cannot_run_fails_when_its_budget_is_spent(
    operator: OperatorProcess,
    namespace: Kubectl,
    store: Store,
    image: str,
    start: Callable[[], Awaitable[str]],
    reason: Reason,
    says: str,
) -> None:
    namespace.apply(job_runner(image, maxLaunchFailures=1))
    await until_served(namespace)

    job_id = await start()

    record = await record_when(store, job_id, over)
    assert (record.status, errors(record)) == (JobStatus.FAILED, [reason])
    assert (record.attempt_count, record.launch_failures) == (0, 1)
    assert says in (record.error or "")
    about = ("JobRunner", "e2e") if reason is Reason.INVALID_RUNTIME else ("Job", f"job-{job_id}-1")
    assert says in await event_on(namespace, *about, str(reason).title().replace("_", ""))
    assert operator.figure("reasons_total", reason=reason) == 1
