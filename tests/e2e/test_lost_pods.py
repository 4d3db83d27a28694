"""Pods and Jobs that are deleted under their runner: who can still answer gives its job back."""

import pytest

from server_jobs import JobStatus
from server_jobs.store.store import Store
from tests.e2e.app.jobs import sleep
from tests.e2e.support.completions import Completions
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.node import freeze_runner, require_own_cluster
from tests.e2e.support.operator_process import OperatorProcess
from tests.e2e.support.waiting import begun, errors, over, record_when, until_no_orphans

pytestmark = pytest.mark.timeout(300)


DELETIONS = pytest.mark.parametrize(
    "deletion",
    [("pods", "--force", "--grace-period=0"), ("pods",), ("jobs",)],
    ids=["pod by force", "pod", "job"],
)


@DELETIONS
async def test_a_runner_that_is_told_to_end_gives_its_job_back(
    operator: OperatorProcess,
    namespace: Kubectl,
    store: Store,
    completions: Completions,
    deletion: tuple[str, ...],
) -> None:
    job_id = await sleep.later({"seconds": 4})
    await record_when(store, job_id, begun)

    namespace.run("delete", *deletion, "--all", "--wait=false")

    record = await record_when(store, job_id, over)
    assert (record.status, record.fence, errors(record)) == (JobStatus.COMPLETED, 2, [])
    assert (record.attempt_count, record.launch_failures) == (1, 0)
    await until_no_orphans(namespace)
    assert completions.of([job_id]) == {job_id: 1}


@DELETIONS
async def test_a_runner_that_cannot_answer_is_lost_and_that_costs_an_attempt(
    operator: OperatorProcess,
    namespace: Kubectl,
    store: Store,
    completions: Completions,
    deletion: tuple[str, ...],
) -> None:
    require_own_cluster()
    job_id = await sleep.later({"seconds": 4})
    await record_when(store, job_id, begun)

    freeze_runner(job_id)
    namespace.run("delete", *deletion, "--all", "--wait=false")

    record = await record_when(store, job_id, over)
    assert (record.status, record.fence, errors(record)) == (JobStatus.COMPLETED, 2, ["lost"])
    assert (record.attempt_count, record.launch_failures) == (2, 0)
    await until_no_orphans(namespace)
    assert completions.of([job_id]) == {job_id: 1}
