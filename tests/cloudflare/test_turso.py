"""The deployable Worker, in WebAssembly, on a Hrana server instead of D1."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.cloudflare.support.bundle import Bundle
from tests.cloudflare.support.edge import Edge, running_edge
from tests.support.edge_worker import lines
from tests.support.processes.local_worker import draining_local_worker
from tests.support.servers.hrana import TOKEN, HranaServer
from tests.support.servers.served_jobs import ServedJobs

PARAMS = '{"numbers": [1, 2]}'


@pytest.fixture
def jobs(tmp_path: Path) -> ServedJobs:
    return ServedJobs(tmp_path / "served.db")


@pytest.fixture
def server() -> Iterator[HranaServer]:
    with HranaServer() as server:
        yield server


@pytest.fixture
def worker(bundle: Bundle, server: HranaServer, jobs: ServedJobs) -> Iterator[Edge]:
    with running_edge() as edge:
        start(edge, bundle, server.serve(jobs.file))
        yield edge


def start(edge: Edge, bundle: Bundle, url: str) -> None:
    # By configuration alone: the code names the D1 binding.
    variables = {"TURSO_DATABASE_URL": url, "TURSO_AUTH_TOKEN": TOKEN}
    edge.start(bundle.mounts(), module=bundle.module, variables=variables)


def test_tick_works_on_turso_by_configuration(
    worker: Edge, server: HranaServer, jobs: ServedJobs
) -> None:
    jobs.add(100, job_name="ProcessData", queue="edge", params=PARAMS)

    ticked = worker.tick()

    assert jobs.counts() == {"completed": 100}
    assert ticked.most <= 6
    assert ticked.queries == 0  # of D1
    assert ticked.fetches == server.requests
    (summary,) = lines("\n".join(worker.logs), "tick")
    assert summary["completed"] == 100
    assert worker.fetch("/healthz").json() == {"status": "ok"}
    assert not any(TOKEN in line for line in worker.logs)


def test_wrong_token_says_what_to_set(
    bundle: Bundle, server: HranaServer, jobs: ServedJobs
) -> None:
    with running_edge() as edge:
        server.token = "another"
        start(edge, bundle, server.serve(jobs.file))
        errors = edge.ticks().errors
        told = "\n".join([*errors, *edge.logs])

    assert "refused the token" in told
    assert TOKEN not in told


@pytest.mark.parametrize("when", ["before", "after"])
def test_failing_fetches_lose_nothing_and_double_nothing(
    worker: Edge, jobs: ServedJobs, when: Literal["before", "after"]
) -> None:
    jobs.add(60, job_name="ProcessData", queue="edge", params=PARAMS)

    worker.break_fetches(*range(2, 60, 3), when=when)
    for _ in range(8):
        worker.ticks()
        jobs.expire_leases()
    worker.tick()

    assert jobs.counts() == {"completed": 60}
    assert jobs.completed_more_than_once() == []


def test_worker_and_local_worker_share_a_table(
    worker: Edge, server: HranaServer, jobs: ServedJobs, tmp_path: Path
) -> None:
    for queue in ("edge", "local"):
        jobs.add(500, job_name="ProcessData", queue=queue, params=PARAMS)

    with draining_local_worker(tmp_path, server.serve(jobs.file), TOKEN) as local:
        for _ in range(5):
            worker.tick()
        assert local.wait(60) == 0

    assert jobs.counts() == {"completed": 1_000}
    assert jobs.completed_more_than_once() == []
    at_the_edge, on_the_host = jobs.workers("edge"), jobs.workers("local")
    assert at_the_edge
    assert on_the_host
    assert not at_the_edge & on_the_host
