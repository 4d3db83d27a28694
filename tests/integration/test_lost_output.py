"""Processes that leave at once do so with their status, even if stdout can't be written to."""

import signal
from pathlib import Path

import pytest

from server_jobs import JobStatus
from server_jobs.database import Database
from server_jobs.migrate import migrate
from server_jobs.records.requests import ClaimRequest
from server_jobs.store.store import Store
from tests.support.processes.lost_output_app import (
    FORKED_STATUS,
    print_and_stay,
    print_in_child,
    registry,
)
from tests.support.processes.runner import runner_process
from tests.support.processes.worker import worker_process
from tests.support.workers import until

APP = "tests.support.processes.lost_output_app:registry"

to_each = pytest.mark.parametrize("to", ["full disk", "closed pipe"])


@pytest.fixture
def migrated_url(sqlite_url: str) -> str:
    migrate(sqlite_url)
    return sqlite_url


@pytest.fixture(autouse=True)
def enqueue_here(database: Database) -> None:
    registry.bind(database)


async def until_it_runs(store: Store, job_id: str) -> None:
    async def runs() -> bool:
        return (await store.get(job_id)).handler_started_at is not None

    await until(runs, "the handler runs")


@to_each
async def test_worker_leaves_a_handler_behind(
    migrated_url: str, store: Store, tmp_path: Path, to: str
) -> None:
    job_id = await print_and_stay.later(to)
    with worker_process(tmp_path, migrated_url, "--grace", "0.2", app=APP) as worker:
        await until_it_runs(store, job_id)
        worker.send(signal.SIGTERM)

        assert worker.wait() == 1
    assert "leaving without handlers that don't end" in worker.log.splitlines()[-1]


@to_each
async def test_runner_leaves_a_handler_behind(
    migrated_url: str, store: Store, tmp_path: Path, to: str
) -> None:
    job_id = await print_and_stay.later(to)
    (job,) = await store.claim(ClaimRequest("default", None, 1, "launcher", 60, starting=False))

    with runner_process(tmp_path, migrated_url, job.claim, "--grace", "0.2", app=APP) as runner:
        await until_it_runs(store, job_id)
        runner.send(signal.SIGTERM)

        assert runner.wait() == 0, runner.log
    assert "doesn't stop: leaving without it" in runner.log.splitlines()[-1]
    assert (await store.get(job_id)).status is not JobStatus.RUNNING


@to_each
async def test_forked_child_ends_with_its_own_status(
    migrated_url: str, store: Store, tmp_path: Path, to: str
) -> None:
    job_id = await print_in_child.later(to)

    with worker_process(tmp_path, migrated_url, "--drain", app=APP) as worker:
        assert worker.wait() == 0, worker.log
    assert (await store.get(job_id)).result == str(FORKED_STATUS)
