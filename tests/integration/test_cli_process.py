"""The real ``server-jobs`` in a process of its own: signals, terminals, missing libraries."""

import json
import os
import pty
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[2]
SERVER_JOBS = Path(sysconfig.get_path("scripts")) / "server-jobs"
APP = "tests.support.cli_app:registry"

pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture
def cli(sqlite_url: str) -> Cli:
    cli = Cli(app=APP, database_url=sqlite_url)
    cli.ok("migrate")
    return cli


StartWorker = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_worker(cli: Cli) -> Iterator[StartWorker]:
    """Starts ``server-jobs worker`` with these options; none is left behind."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> "subprocess.Popen[str]":
        # The app is found because it is below the current directory.
        process = subprocess.Popen(
            [str(SERVER_JOBS), "worker", *options],
            cwd=ROOT,
            env=environment(cli),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def environment(cli: Cli, **more: str) -> dict[str, str]:
    settings = {f"SERVER_JOBS_{name.upper()}": value for name, value in cli.settings.items()}
    return {**os.environ, **settings, **more}


def enqueue(cli: Cli, name: str, seconds: float) -> str:
    return cli.ok("enqueue", name, "--params-json", json.dumps({"seconds": seconds}))


def wait_until_running(cli: Cli, job_id: str) -> None:
    deadline = time.monotonic() + 20
    while cli.json("show", job_id)["handler_started_at"] is None:
        assert time.monotonic() < deadline, "the worker claimed nothing"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_worker_lets_its_job_end_and_exits_with_0(
    cli: Cli, start_worker: StartWorker, number: signal.Signals
) -> None:
    running = enqueue(cli, "Sleep", 2)
    waiting = enqueue(cli, "Sleep", 2)
    worker = start_worker("--concurrency", "1")
    wait_until_running(cli, running)

    worker.send_signal(number)
    _, log = worker.communicate(timeout=20)

    assert worker.returncode == 0, log
    assert cli.json("show", running)["status"] == "completed"
    assert cli.json("show", waiting)["status"] == "pending"
    assert json.loads(log.splitlines()[-1])["event"] == "worker stopped"


def test_job_that_outlasts_the_grace_period_is_given_back(
    cli: Cli, start_worker: StartWorker
) -> None:
    job_id = enqueue(cli, "Sleep", 1_000)
    worker = start_worker("--grace", "0")
    wait_until_running(cli, job_id)

    worker.terminate()
    _, log = worker.communicate(timeout=20)

    assert worker.returncode == 0, log
    job = cli.json("show", job_id)
    assert (job["status"], job["attempt_count"], job["release_count"]) == ("pending", 0, 1)


def test_second_signal_stops_at_once_and_leaves_a_deaf_handler_behind(
    cli: Cli, start_worker: StartWorker
) -> None:
    deaf = enqueue(cli, "SleepDeaf", 1_000)
    listening = enqueue(cli, "Sleep", 1_000)
    worker = start_worker("--grace", "1000")
    wait_until_running(cli, deaf)
    wait_until_running(cli, listening)

    worker.terminate()
    # Two signals that arrive together may count as one.
    assert worker.stderr is not None
    while "SIGTERM: stopping" not in worker.stderr.readline():
        pass
    worker.terminate()
    _, log = worker.communicate(timeout=20)

    assert worker.returncode == 1, log
    last = json.loads(log.splitlines()[-1])
    assert last["event"] == "leaving without handlers that don't end"
    assert last["jobs"] == [f"SleepDeaf {deaf}"]
    # Its handler may have gone on until the very end: only its lease says when it is over.
    assert cli.json("show", deaf)["status"] == "running"
    assert cli.json("show", listening)["status"] == "pending"


def test_handler_that_blocks_the_event_loop_cannot_keep_the_process_alive(
    cli: Cli, start_worker: StartWorker
) -> None:
    job_id = enqueue(cli, "BlockLoop", 1_000)
    worker = start_worker("--grace", "0")
    wait_until_running(cli, job_id)

    worker.terminate()
    _, log = worker.communicate(timeout=20)

    assert worker.returncode == 1
    # The watchdog shows where it hung.
    assert "in block_loop" in log


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_and_can_be_turned_off(
    cli: Cli, no_color: str, coloured: bool
) -> None:
    enqueue(cli, "Sleep", 0)
    cli.ok("worker", "--drain")
    ours, theirs = pty.openpty()
    env = environment(cli, NO_COLOR=no_color, TERM="xterm-256color", COLUMNS="200")
    env.pop("FORCE_COLOR", None)

    done = subprocess.run([SERVER_JOBS, "list"], cwd=ROOT, env=env, stdout=theirs, timeout=20)
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)

    assert done.returncode == 0
    assert "completed" in shown
    green = "\x1b[32m"
    assert (green in shown) is coloured


def test_output_may_be_cut_off(cli: Cli) -> None:
    for _ in range(5):
        enqueue(cli, "Sleep", 0)

    done = subprocess.run(
        f"'{SERVER_JOBS}' list --json | head -n 1",
        shell=True,
        cwd=ROOT,
        env=environment(cli),
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert done.stdout == "[\n"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("library", ["typer", "rich", "pytimeparse", "structlog", "alembic"])
def test_missing_library_is_named_with_how_to_install_it(library: str, tmp_path: Path) -> None:
    hide = f"import sys; sys.modules[{library!r}] = None"  # an import of it then fails
    run = f"sys.argv = ['server-jobs', 'migrate', '--database', 'sqlite:///{tmp_path}/jobs.db']"

    done = subprocess.run(
        [sys.executable, "-c", f"{hide}; {run}; from server_jobs.cli import main; main()"],
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert done.returncode == 1
    assert "pip install 'server-jobs[cli]'" in done.stderr
    assert library in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_library_imports_nothing_that_only_the_command_line_needs() -> None:
    program = (
        "import sys, server_jobs, server_jobs.worker, server_jobs.memory\n"
        "unneeded = {'typer', 'rich', 'pytimeparse', 'structlog', 'alembic', 'click'}\n"
        "print(unneeded & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout.strip() == "set()", done.stderr
