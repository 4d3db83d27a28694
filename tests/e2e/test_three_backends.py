"""One table, three backends at once: a cluster, a Worker in WebAssembly and a local worker.

The table is behind a Hrana server on this machine, which all three reach.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloudflare.support.bundle import DEPLOYABLE, build
from tests.cloudflare.support.edge import Edge, running_edge
from tests.e2e.support.operator_process import OperatorProcess
from tests.support.processes.local_worker import draining_local_worker
from tests.support.servers.hrana import TOKEN, HranaServer
from tests.support.servers.served_jobs import ServedJobs

ON_THE_CLUSTER, ELSEWHERE = 40, 480
NUMBERS = '{"numbers": [1, 2]}'


@pytest.fixture
def jobs(tmp_path: Path) -> ServedJobs:
    return ServedJobs(tmp_path / "served.db")


@pytest.fixture
def served(jobs: ServedJobs, host: str) -> Iterator[str]:
    with HranaServer(host=host) as server:
        yield server.serve(jobs.file)


@pytest.fixture
def server_url(served: str) -> str:
    """What the Secret of the runner pods has: the token is part of it."""
    return f"{served}?authToken={TOKEN}"


@pytest.fixture
def worker(tmp_path: Path, served: str) -> Iterator[Edge]:
    bundle = build(DEPLOYABLE, tmp_path / "worker")
    variables = {"TURSO_DATABASE_URL": served, "TURSO_AUTH_TOKEN": TOKEN}
    with running_edge() as edge:
        edge.start(bundle.mounts(), module=bundle.module, variables=variables)
        yield edge


@pytest.mark.timeout(400)
async def test_each_job_is_completed_once_by_a_backend_that_may(
    operator: OperatorProcess, worker: Edge, jobs: ServedJobs, served: str, tmp_path: Path
) -> None:
    jobs.add(ON_THE_CLUSTER, job_name="Double", queue="default", params='{"n": 21}')
    for queue in ("edge", "local"):
        jobs.add(ELSEWHERE, job_name="ProcessData", queue=queue, params=NUMBERS)

    with draining_local_worker(tmp_path, served, TOKEN) as local:
        async with asyncio.timeout(300):
            while jobs.counts() != {"completed": ON_THE_CLUSTER + 2 * ELSEWHERE}:
                await asyncio.to_thread(worker.tick)
                await asyncio.sleep(0.5)
        assert local.wait(60) == 0

    assert jobs.completed_more_than_once() == []
    by_pods, by_worker, by_process = map(jobs.workers, ("default", "edge", "local"))
    assert all(name.startswith("k8s/") for name in by_pods)
    assert all(name.startswith("cloudflare/") for name in by_worker), by_worker
    assert len(by_process) == 1
    assert not by_process & (by_pods | by_worker)
