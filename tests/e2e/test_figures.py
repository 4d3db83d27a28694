"""What the operator tells Prometheus is what has happened."""

from pathlib import Path

import pytest

from server_jobs.store.store import Store
from tests.e2e.app.jobs import double, gate, leave
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.operator_process import OperatorProcess
from tests.e2e.support.permissions import somebodys_job
from tests.e2e.support.waiting import begun, over, record_when, until

pytestmark = pytest.mark.timeout(300)


async def test_the_figures_are_those_of_the_table_and_of_the_cluster(
    operator: OperatorProcess, namespace: Kubectl, store: Store, tmp_path: Path
) -> None:
    gate.close()
    finished = await double.later_many([{"n": n} for n in range(3)])
    failed = await leave.later({"n": 3})
    taken = await double.later({"n": 2}, delay=3)
    namespace.apply(somebodys_job(f"job-{taken}-1"))
    running = await gate.job.later({"n": 1})
    # Of a queue that nobody serves: two are due, the third is later.
    waiting = await double.later_many([{"n": n} for n in range(2)], queue="unserved")
    await double.later({"n": 1}, queue="unserved", delay=3_600)
    for job_id in (*finished, failed, taken):
        await record_when(store, job_id, over)
    await record_when(store, running, begun)
    ours = {"namespace": namespace.namespace, "runner": "e2e"}
    jobs = len(namespace.all("jobs")) - 1  # one is somebody's

    await until(lambda: operator.figure("queue_depth", queue="unserved") == 3)
    await until(lambda: operator.figure("running_jobs", **ours) == 1)
    oldest = operator.figure("queue_oldest_seconds", queue="unserved")
    waited = await store.clock() - (await store.get(waiting[0])).scheduled_for
    assert oldest is not None
    assert 0 < oldest <= waited.total_seconds() < oldest + 20
    assert operator.figure("leader") == 1
    assert jobs == 6
    # The one whose name was taken was claimed twice.
    assert operator.figure("claims_total", **ours) == 7
    assert operator.figure("launches_total", **ours, outcome="created") == jobs
    assert operator.figure("launch_seconds_count") == jobs
    assert operator.figure("reasons_total", reason="exit_code") == 1
    assert operator.figure("reasons_total", reason="lost") == 0
    assert operator.figure("api_errors_total", verb="create", code="409") == 1
    lag = operator.figure("reconcile_lag_seconds")
    assert lag is not None
    assert 0 <= lag < 10

    gate.open()
    await record_when(store, running, over)
    await until(lambda: operator.figure("running_jobs", **ours) == 0)
