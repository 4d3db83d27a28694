"""Operators that are killed, servers that are away, runners that freeze.

Afterwards every record is right, none was completed twice, and nothing runs any more.
"""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from server_jobs import JobStatus
from server_jobs.store.store import Store
from tests.e2e.app.jobs import double, gate, sleep
from tests.e2e.conftest import job_runner
from tests.e2e.support.completions import Completions, all_completed_once
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.node import freeze_runner, require_own_cluster, stopped, thaw
from tests.e2e.support.operator_process import OperatorProcess
from tests.e2e.support.waiting import begun, errors, record_when, until, until_served
from tests.support.servers.postgres import PostgresServer

OUTAGE_SECONDS = 60.0

pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("point", ["before", "after"])
async def test_an_operator_killed_around_the_creation_of_a_job(
    point: str,
    namespace: Kubectl,
    store: Store,
    completions: Completions,
    server_url: str,
    image: str,
    tmp_path: Path,
) -> None:
    namespace.apply(job_runner(image))
    process = OperatorProcess(tmp_path, namespace.namespace, server_url)
    ids = await double.later_many([{"n": n} for n in range(5)])

    process.start("--lease", "120", dies=point)
    assert await asyncio.to_thread(process.wait) == -signal.SIGKILL
    claimed = [await store.get(job_id) for job_id in ids]
    assert JobStatus.RUNNING in {record.status for record in claimed}

    with process.running():
        await all_completed_once(store, completions, namespace, ids)

    records = [await store.get(job_id) for job_id in ids]
    assert {(record.fence, record.attempt_count) for record in records} == {(1, 1)}
    assert len(namespace.all("jobs")) == len(ids)


async def test_an_operator_killed_while_eighty_jobs_run(
    operator: OperatorProcess,
    namespace: Kubectl,
    store: Store,
    completions: Completions,
    image: str,
) -> None:
    namespace.apply(job_runner(image, maxConcurrency=80))
    await until_served(namespace)
    gate.close()
    ids = await gate.job.later_many([{"n": n} for n in range(80)])
    for job_id in ids:
        await record_when(store, job_id, begun, 240)

    operator.kill()
    gate.open()
    await asyncio.sleep(5)
    operator.start()

    await all_completed_once(store, completions, namespace, ids)
    records = [await store.get(job_id) for job_id in ids]
    again = {record.id: errors(record) for record in records if record.fence > 1}
    assert (again, {record.attempt_count for record in records}) == ({}, {1})


async def test_two_operators_that_both_believe_to_lead(
    namespace: Kubectl,
    store: Store,
    completions: Completions,
    server_url: str,
    image: str,
    tmp_path: Path,
) -> None:
    namespace.apply(job_runner(image))
    one = OperatorProcess(tmp_path, namespace.namespace, server_url)
    other = OperatorProcess(tmp_path / "other", namespace.namespace, server_url)
    (tmp_path / "other").mkdir()
    ids = await double.later_many([{"n": n} for n in range(40)])

    with one.running("--no-leader-election"), other.running("--no-leader-election"):
        await all_completed_once(store, completions, namespace, ids)

    records = [await store.get(job_id) for job_id in ids]
    assert {record.attempt_count for record in records} == {1}


async def test_an_api_server_that_is_away_for_a_minute(
    operator: OperatorProcess, namespace: Kubectl, store: Store, completions: Completions
) -> None:
    require_own_cluster()
    ids = await sleep.later_many([{"seconds": 10} for _ in range(8)])
    await record_when(store, ids[0], begun)

    with stopped("kube-apiserver"):
        ids += await double.later_many([{"n": n} for n in range(8)])
        await asyncio.sleep(OUTAGE_SECONDS)
        assert operator.probe("readyz") == 503
        assert operator.probe("healthz") == 200

    await all_completed_once(store, completions, namespace, ids)
    assert operator.alive
    await until(lambda: operator.probe("readyz") == 200)


async def test_a_database_that_is_away_for_a_minute(
    operator: OperatorProcess,
    namespace: Kubectl,
    store: Store,
    completions: Completions,
    postgres: PostgresServer,
) -> None:
    ids = await sleep.later_many([{"seconds": seconds} for seconds in (10, 10, 30, 80)])
    ids += await double.later_many([{"n": n} for n in range(20)])
    await record_when(store, ids[0], begun)

    postgres.kill(signal.SIGQUIT)
    try:
        await asyncio.sleep(OUTAGE_SECONDS)
        assert operator.probe("readyz") == 503
        assert operator.probe("healthz") == 200
    finally:
        postgres.start()

    await all_completed_once(store, completions, namespace, ids)
    assert operator.alive
    await until(lambda: operator.probe("readyz") == 200)


async def test_a_runner_frozen_beyond_its_lease_writes_nothing_when_it_comes_back(
    operator: OperatorProcess,
    namespace: Kubectl,
    store: Store,
    completions: Completions,
    image: str,
) -> None:
    require_own_cluster()
    namespace.apply(job_runner(image, leaseSeconds=10))
    await until_served(namespace)
    job_id = await sleep.later({"seconds": 3})
    await record_when(store, job_id, begun)
    (pod,) = namespace.all("pods")

    with namespace.following(pod["metadata"]["name"]) as stale:
        await until(lambda: "began, attempt 1" in stale())
        frozen = freeze_runner(job_id)
        await record_when(store, job_id, lambda record: record.fence == 2)
        thaw(frozen)
        await until(lambda: "its lease was lost, nothing is written" in stale(), 20)

    await all_completed_once(store, completions, namespace, [job_id])
    record = await store.get(job_id)
    assert (record.fence, record.attempt_count, errors(record)) == (2, 2, ["lease_expired"])
    assert record.result == "2", "the first attempt's result stands there"


async def test_an_evicted_pod_that_had_no_time_to_say_so(
    operator: OperatorProcess, namespace: Kubectl, store: Store, completions: Completions
) -> None:
    require_own_cluster()
    job_id = await sleep.later({"seconds": 3})
    await record_when(store, job_id, begun)

    freeze_runner(job_id)
    evict(namespace)

    await all_completed_once(store, completions, namespace, [job_id])
    record = await store.get(job_id)
    assert (record.disruptions, errors(record)) == (1, ["evicted"])


async def test_an_evicted_pod_gives_its_job_back(
    operator: OperatorProcess, namespace: Kubectl, store: Store, completions: Completions
) -> None:
    job_id = await sleep.later({"seconds": 5})
    await record_when(store, job_id, begun)

    evict(namespace)

    await all_completed_once(store, completions, namespace, [job_id])
    record = await store.get(job_id)
    assert (record.fence, record.attempt_count) == (2, 1)


def evict(namespace: Kubectl) -> None:
    (pod,) = namespace.all("pods")
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    path = f"/api/v1/namespaces/{namespace.namespace}/pods/{name}/eviction"
    namespace.run("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
