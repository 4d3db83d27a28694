"""The real ``server-jobs`` in a process of its own: signals, terminals, missing libraries."""

import contextlib
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


def test_worker_shows_every_failed_attempt_on_a_terminal(cli: Cli, failing_app: str) -> None:
    cli.ok("enqueue", "Fail", "--app", failing_app, "--param", "number=13")

    shown = on_a_terminal(cli, "worker", "--drain", "--app", failing_app)

    assert "attempt 1 of 2, again in 0.0 s, 1 attempt left: no thirteens" in shown
    assert "attempt 2 of 2, for good: no thirteens" in shown
    lines = shown.splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith("Traceback")]
    assert len(begins) == 2
    for number in begins:
        assert "users_failing_app.py" in lines[number + 1]
        assert lines[number + 2].strip() == "check(params.number)"
        assert "ValueError: no thirteens" in lines[number + 1 :]
    assert "traceback=" not in shown
    assert "execution.py" not in shown


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_lines_are_coloured_on_a_terminal_unless_told_otherwise(
    cli: Cli, no_color: str, coloured: bool
) -> None:
    shown = on_a_terminal(cli, "worker", "--drain", no_color=no_color)

    assert "worker stopped" in shown
    assert ("\x1b[" in shown) is coloured


def test_terminal_obeys_nothing_that_a_handler_raises(cli: Cli) -> None:
    cli.ok("enqueue", "Charge", "--param", "number=13", "--max-attempts", "1")

    shown = on_a_terminal(cli, "worker", "--drain")

    assert "\x1b[31mthirteens" not in shown
    # In the message, in the traceback's last line, and so it is written in the source line there.
    assert shown.count("no \\x1b[31mthirteens") == 3


def test_worker_writes_every_failed_attempt_as_one_line_of_json(cli: Cli, failing_app: str) -> None:
    cli.ok("enqueue", "Fail", "--app", failing_app, "--param", "number=13")

    done = subprocess.run(
        [SERVER_JOBS, "worker", "--drain", "--app", failing_app],
        cwd=ROOT,
        env=environment(cli),
        capture_output=True,
        text=True,
        timeout=20,
    )

    told = [json.loads(line) for line in done.stderr.splitlines()]
    failed = [line for line in told if "traceback" in line]
    assert [(line["level"], line["attempt"], line["attempts_left"]) for line in failed] == [
        ("warning", 1, 1),
        ("error", 2, 0),
    ]
    for line in failed:
        assert line["error"] == "ValueError"
        assert "users_failing_app.py" in line["traceback"].splitlines()[1]


@pytest.fixture
def failing_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "users_failing_app.py").write_text(FAILING_APP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    return "users_failing_app:registry"


FAILING_APP = """
from pydantic import BaseModel
from server_jobs import RetryPolicy, create_job_registry, define_job


class Order(BaseModel):
    number: int


def check(number: int) -> None:
    if number == 13:
        raise ValueError("no thirteens")


@define_job(name="Fail", max_attempts=2, retry_policy=RetryPolicy.fixed(0))
def fail(params: Order) -> None:
    check(params.number)


registry = create_job_registry().register(fail)
"""


def on_a_terminal(cli: Cli, *command: str, no_color: str = "1") -> str:
    """Run a command whose stderr is a terminal → what a person sees there."""
    ours, theirs = pty.openpty()
    env = environment(cli, TERM="xterm-256color", NO_COLOR=no_color)
    process = subprocess.Popen([SERVER_JOBS, *command], cwd=ROOT, env=env, stderr=theirs)
    os.close(theirs)
    seen = b""
    # Linux says so where the last one who could write has gone.
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 65_536):
            seen += piece
    os.close(ours)
    assert process.wait(20) == 0
    return seen.decode().replace("\r\n", "\n")


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
