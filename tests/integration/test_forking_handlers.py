"""Handlers that make children: those hear nothing for the worker, and don't go on as one."""

import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from server_jobs import JobStatus
from server_jobs.database import Database
from server_jobs.migrate import migrate
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import JobRecord
from server_jobs.store.store import Store
from tests.support.processes.forking_app import (
    APP,
    ENDINGS,
    IN_TO_THREAD,
    program_with_a_worker,
    registry,
)
from tests.support.processes.runner import runner_process
from tests.support.processes.worker import worker_process
from tests.support.workers import until


@pytest.fixture
def migrated_url(sqlite_url: str) -> str:
    migrate(sqlite_url)
    return sqlite_url


@pytest.fixture(autouse=True)
def enqueue_here(database: Database) -> None:
    registry.bind(database)


async def enqueue(names: Iterable[str]) -> dict[str, str]:
    return {await registry.get(name).later(None): name for name in names}


async def until_all_ended(store: Store, ids: dict[str, str]) -> dict[str, str | None]:
    """Wait until all jobs have ended → what each returned, or how it failed."""

    for job_id, name in ids.items():

        async def has_ended(job_id: str = job_id) -> bool:
            return (await store.get(job_id)).status.finished

        await until(has_ended, f"{name} has ended")
    return {name: told(await store.get(job_id)) for job_id, name in ids.items()}


def told(record: JobRecord) -> str | None:
    once = (record.attempt_count, record.release_count, record.fence) == (1, 0, 1)
    return record.result if once and record.status is JobStatus.COMPLETED else repr(record)


EXPECTED = {name: str(ending) for name, ending in ENDINGS.items()}


async def test_a_worker_executes_each_once_and_hears_no_signal_of_a_child(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    ids = await enqueue(ENDINGS)
    with worker_process(tmp_path, migrated_url, "--concurrency", "1", app=APP) as worker:
        assert await until_all_ended(store, ids) == EXPECTED
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
    assert worker.log.count("SIGTERM: stopping") == 1
    assert worker.log.count("worker stopped") == 1, "no clone of it has come so far"


async def test_a_worker_inside_a_program_does_so_too(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    ids = await enqueue(ENDINGS.keys() - {IN_TO_THREAD})
    with program_with_a_worker(tmp_path, migrated_url) as program:
        assert await until_all_ended(store, ids) == {name: EXPECTED[name] for name in ids.values()}
        program.send_signal(signal.SIGTERM)
        assert program.wait(20) == 0


@pytest.mark.parametrize("name", ENDINGS)
async def test_a_runner_does_so_too(
    migrated_url: str, store: Store, tmp_path: Path, name: str
) -> None:
    job_id = await registry.get(name).later(None)
    (job,) = await store.claim(ClaimRequest("default", None, 1, "launcher", 60, starting=False))

    with runner_process(tmp_path, migrated_url, job.claim, app=APP) as runner:
        assert runner.wait() == 0, runner.log

    assert told(await store.get(job_id)) == EXPECTED[name]


BLOCK_CHANGES_DURING_THE_FORK = """
import os, signal, sys

before_fork = []
os.register_at_fork(before=lambda: before_fork.pop()())  # called after ours, which comes later

from server_jobs.children import apart_from_children

block = apart_from_children()
if sys.argv[1] == "ends":
    block.__enter__()
    before_fork.append(lambda: block.__exit__(None, None, None))
else:
    before_fork.append(block.__enter__)
child = os.fork()
if not child:
    os._exit(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "signals are blocked")
"""


@pytest.mark.parametrize("what", ["ends", "begins"])
def test_child_hears_signals_although_the_parent_changed_during_the_fork(what: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", BLOCK_CHANGES_DURING_THE_FORK, what],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (ended.stdout, ended.stderr) == ("0 signals are blocked\n", "")
