"""SIGTERM and SIGINT end every command soon: at its start, in C code, first in a container."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_jobs import JobStatus, connect
from server_jobs.migrate import migrate
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import Claim
from server_jobs.store.store import Store
from tests.support.processes import busy_app
from tests.support.processes.runner import runner_process
from tests.support.processes.worker import ROOT, WorkerProcess, worker_process
from tests.support.workers import PATIENCE_SECONDS, until

FIRST = ["unshare", "--pid", "--fork", "--kill-child"]
"""Starts the first process of a namespace, as a container's: it has no default for signals."""


class Command:
    """A command of ``server-jobs``, and what it prints."""

    def __init__(self, folder: Path, url: str, arguments: list[str], *, first: bool) -> None:
        self._output = folder / "output"
        command = [sys.executable, "-m", "server_jobs.cli", *arguments]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*FIRST, *command] if first else command,
                cwd=ROOT,
                env=os.environ | {"SERVER_JOBS_DATABASE_URL": url, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # The tests may run in a shell's background, which ignores Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        self._first = first

    @property
    def output(self) -> str:
        return self._output.read_text()

    def send(self, number: signal.Signals) -> None:
        process_id = self.process.pid
        if self._first:
            children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text()
            process_id = int(children.split()[0])
        os.kill(process_id, number)


@contextlib.contextmanager
def started(command: Command) -> Iterator[Command]:
    try:
        yield command
    finally:
        command.process.kill()
        command.process.wait()


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """Takes connections, and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_SECONDS)
        yield server


WAYS = pytest.mark.parametrize(
    ("number", "first"),
    [
        (signal.SIGTERM, False),
        (signal.SIGINT, False),
        pytest.param(
            signal.SIGTERM,
            True,
            marks=[
                pytest.mark.may_skip_in_ci(reason="only root may make a namespace of processes"),
                pytest.mark.skipif(
                    subprocess.run([*FIRST, "true"], capture_output=True).returncode != 0,
                    reason="this user may not make a namespace of processes",
                ),
            ],
        ),
    ],
    ids=["SIGTERM", "SIGINT", "SIGTERM to the first process"],
)
SLOW_APP = ["--app", "tests.support.processes.slow_to_import:registry"]
LAUNCH = ["--job-id", "0197a3c2-5b1e-7f04-8c11-2f6a7d5e9b10", "--fence", "1"]


@WAYS
@pytest.mark.parametrize(
    ("arguments", "ready"),
    [
        (["migrate", "--wait", "forever"], "trying again"),
        (["worker", *SLOW_APP], "importing"),
        (["run", *SLOW_APP, *LAUNCH], "importing"),
    ],
    ids=["migrate waits", "a worker imports", "a runner imports"],
)
async def test_a_command_that_has_begun_nothing_ends_at_once(
    tmp_path: Path, arguments: list[str], ready: str, number: signal.Signals, first: bool
) -> None:
    url = "postgresql://127.0.0.1:1/nobody"
    with started(Command(tmp_path, url, arguments, first=first)) as command:
        await until(lambda: ready in command.output, f"it says {ready!r}")
        signalled = time.monotonic()
        command.send(number)
        status = command.process.wait(PATIENCE_SECONDS)

    assert status == 128 + number, command.output
    assert time.monotonic() - signalled < 5
    assert "Traceback" not in command.output


@WAYS
@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate"],
        ["worker", "--app", "tests.support.processes.app:registry"],
        ["run", "--app", "tests.support.processes.app:registry", *LAUNCH],
        ["watch"],
        ["list"],
    ],
    ids=lambda arguments: arguments[0],
)
async def test_a_command_that_waits_for_a_silent_server_ends_soon(
    tmp_path: Path,
    silent_server: socket.socket,
    arguments: list[str],
    number: signal.Signals,
    first: bool,
) -> None:
    url = f"postgresql://127.0.0.1:{silent_server.getsockname()[1]}/silent?connect_timeout=60"
    with started(Command(tmp_path, url, arguments, first=first)) as command:
        connection, _ = silent_server.accept()
        with connection:
            command.send(number)
            status = command.process.wait(PATIENCE_SECONDS)

    assert status == 128 + number, command.output


@WAYS
async def test_a_watch_ends_at_once_and_says_by_which_signal(
    tmp_path: Path, sqlite_url: str, number: signal.Signals, first: bool
) -> None:
    migrate(sqlite_url)
    with started(Command(tmp_path, sqlite_url, ["watch"], first=first)) as command:
        await until(lambda: "nothing is pending" in command.output, "it watches")
        command.send(number)
        status = command.process.wait(PATIENCE_SECONDS)

    assert status == 128 + number, command.output
    assert "Traceback" not in command.output


BUSY = pytest.mark.parametrize("name", ["library", "expression"])


async def claimed(url: str, name: str, *, launched: bool) -> tuple[Store, Claim]:
    """A job of the app that keeps its main thread; for a runner, a launcher has claimed it."""
    database = connect(url)
    busy_app.registry.bind(database)
    store = Store(database)
    job_id = await busy_app.registry.get(name).later(None)
    if launched:
        (job,) = await store.claim(ClaimRequest("default", None, 1, "k8s", 60, starting=False))
        return store, job.claim
    return store, Claim(job_id, 1)


async def terminated(folder: Path, process: WorkerProcess) -> tuple[int, str]:
    await until(lambda: busy_app.has_begun(folder), "the handler has begun")
    process.send(signal.SIGTERM)
    return process.wait(), process.log


@BUSY
async def test_a_worker_ends_although_its_main_thread_is_in_c(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    migrate(sqlite_url)
    monkeypatch.setenv(busy_app.FOLDER_SETTING, str(tmp_path))
    await claimed(sqlite_url, name, launched=False)

    with worker_process(tmp_path, sqlite_url, "--grace", "0", app=busy_app.APP) as worker:
        status, log = await terminated(tmp_path, worker)

    assert status == 1
    assert f"in {name}" in log, "it shows where it hung"


@BUSY
async def test_a_runner_ends_although_its_main_thread_is_in_c(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    migrate(sqlite_url)
    monkeypatch.setenv(busy_app.FOLDER_SETTING, str(tmp_path))
    store, claim = await claimed(sqlite_url, name, launched=True)

    with runner_process(tmp_path, sqlite_url, claim, "--grace", "0", app=busy_app.APP) as runner:
        status, log = await terminated(tmp_path, runner)

    record = await store.get(claim.job_id)
    if name == "library":
        assert (status, record.status) == (0, JobStatus.PENDING), log
        assert record.release_count == 1
    else:  # nobody could settle it
        assert (status, record.status) == (1, JobStatus.RUNNING), log
        assert f"in {name}" in log


ASKED_BEFORE_THE_LAST_MOMENT_IS_SET = """
import signal, time

from server_jobs.launches.end_request import EndRequest

with EndRequest() as end_request:
    end_request.job_begins = True
    signal.raise_signal(signal.SIGTERM)
    while not end_request.asked:
        time.sleep(0.01)
    end_request.end_within(0.5)
    time.sleep(60)
"""


def test_last_moment_comes_although_the_signal_came_before_it_was_set() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ASKED_BEFORE_THE_LAST_MOMENT_IS_SET],
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("Timeout (0:00:00.500000)!")
