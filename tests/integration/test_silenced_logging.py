"""Apps that configure logging: failures are written whatever they do, and as they want it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from server_jobs import JobStatus, connect
from server_jobs.migrate import migrate
from server_jobs.records.requests import ClaimRequest
from server_jobs.store.store import Store
from tests.support.processes.runner import runner_process
from tests.support.processes.silent_app import WAY_SETTING, failing
from tests.support.processes.worker import worker_process

APP = "tests.support.processes.silent_app:registry"

Execute = Callable[[str], str]


@pytest.fixture
def worker(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Execute:
    """Executes the job that waits, in an app that silences logging so → what is printed."""

    def execute(way: str) -> str:
        monkeypatch.setenv(WAY_SETTING, way)
        with worker_process(tmp_path, sqlite_url, "--drain", app=APP) as process:
            assert process.wait() == 0, process.log
            return process.log

    return execute


async def enqueued(url: str) -> Store:
    migrate(url)
    store = Store(connect(url))
    failing.set_database(store.database)
    await failing.later(None)
    return store


@pytest.mark.parametrize(
    "way",
    [
        "disabled",
        "high level",
        "high level of the handler",
        "null",
        "nothing at all",
        "disable()",
    ],
)
async def test_worker_says_that_a_job_failed(sqlite_url: str, worker: Execute, way: str) -> None:
    await enqueued(sqlite_url)

    log = worker(way)

    assert "(Failing) failed on attempt 1 of 1, for good: there is nothing here" in log
    assert "in failing" in log
    assert log.count("for good") == 1


async def test_app_that_has_handlers_of_its_own_sees_failures_in_its_own_form(
    sqlite_url: str, worker: Execute
) -> None:
    await enqueued(sqlite_url)

    log = worker("its own")

    assert "OWN ERROR job " in log
    assert "LookupError: there is nothing here" in log
    assert log.count("for good") == 1


async def test_level_that_is_set_for_our_logger_holds(sqlite_url: str, worker: Execute) -> None:
    await enqueued(sqlite_url)

    assert "for good" not in worker("ours by its name")


@pytest.mark.parametrize("way", ["disabled", "null"])
async def test_pod_says_that_its_job_failed(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    store = await enqueued(sqlite_url)
    (claimed,) = await store.claim(ClaimRequest("default", None, 1, "k8s", 300, starting=False))
    monkeypatch.setenv(WAY_SETTING, way)

    with runner_process(tmp_path, sqlite_url, claimed.claim, app=APP) as process:
        assert process.wait() == 0, process.log

    assert (await store.get(claimed.id)).status is JobStatus.FAILED
    assert "for good: there is nothing here" in process.log


SILENCED_BEFORE_ALL_IS_IMPORTED = """
import logging.config, pkgutil

from server_jobs.cli.commands.run import _configure_logging

_configure_logging("json", "info")
logging.config.dictConfig({"version": 1, "root": {"level": "CRITICAL", "handlers": []}})
import server_jobs

for module in pkgutil.walk_packages(server_jobs.__path__, "server_jobs."):
    if not module.name.endswith((".__main__", "migrations.env")):  # they begin to work
        __import__(module.name)
names = {name for name in logging.root.manager.loggerDict if name.startswith("server_jobs.")}
names.discard("server_jobs.handler")
for name in names:
    if isinstance(logging.root.manager.loggerDict[name], logging.Logger):
        logging.getLogger(name).warning(name)
        print(name)
"""


def test_loggers_of_what_is_imported_later_are_heard_too(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SILENCED_BEFORE_ALL_IS_IMPORTED],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )

    heard = {json.loads(line)["event"] for line in ended.stderr.splitlines()}
    assert heard == set(ended.stdout.split())
    assert heard >= {"server_jobs.database", "server_jobs.scheduler"}
