"""watch, and questions on a terminal: the real command in a process of its own."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture
from tests.support.terminal import SERVER_JOBS, environment, on_terminal

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.support.cli_app:registry"

pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture
def cli(sqlite_url: str) -> Cli:
    cli = Cli(app=APP, database_url=sqlite_url)
    cli.ok("migrate")
    return cli


def enqueue(cli: Cli, *options: str, number: int = 1) -> str:
    return cli.ok("enqueue", "Charge", "--params-json", json.dumps({"number": number}), *options)


Started = subprocess.Popen[str]
Start = Callable[..., Started]


@pytest.fixture
def start(cli: Cli) -> Iterator[Start]:
    """Starts ``server-jobs`` with these arguments; none is left behind."""
    started: list[Started] = []

    def start(*arguments: str) -> Started:
        process = subprocess.Popen(
            [str(SERVER_JOBS), *arguments],
            env=environment(cli),
            stdin=subprocess.DEVNULL,
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


def lines_of(process: Started) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


# ── watch ────────────────────────────────────────────────────────────────────────────────────


def test_watch_of_named_jobs_ends_with_them_and_with_0_if_all_completed(
    cli: Cli, start: Start
) -> None:
    ids = [enqueue(cli, number=number) for number in range(2)]
    watch = start("watch", ids[0], ids[1][:30])
    seen = [lines_of(watch).readline() for _ in ids]

    cli.ok("worker", "--drain")
    rest, remarks = watch.communicate(timeout=20)

    assert watch.returncode == 0, remarks
    assert {line.split()[1] for line in seen} == set(ids)
    assert all(line.split()[3] == "pending" for line in seen)
    ended = [line.split()[1] for line in rest.splitlines() if "completed" in line]
    assert sorted(ended) == ids


def test_watch_says_with_its_exit_status_that_a_job_failed(cli: Cli, start: Start) -> None:
    broken = enqueue(cli, "--max-attempts", "1", number=13)
    watch = start("watch", broken, "--json")
    lines_of(watch).readline()

    cli.ok("worker", "--drain")
    rest, _ = watch.communicate(timeout=20)

    last = json.loads(rest.splitlines()[-1])
    assert (last["id"], last["status"]) == (broken, "failed")
    assert "thirteens" in last["error"]
    assert watch.returncode == 1


def test_watch_of_a_filter_sees_jobs_that_come_later(cli: Cli, start: Start) -> None:
    first = enqueue(cli, "--correlation-id", "order-1017", "--delay", "3600")
    enqueue(cli, "--delay", "3600")
    watch = start("watch", "--correlation-id", "order-1017", "--json")
    assert json.loads(lines_of(watch).readline())["id"] == first

    second = enqueue(cli, "--correlation-id", "order-1017", "--delay", "3600")
    assert json.loads(lines_of(watch).readline())["id"] == second
    cli.ok("cancel", first, second)
    rest, _ = watch.communicate(timeout=20)

    ends = [json.loads(line) for line in rest.splitlines()]
    assert {(end["id"], end["status"]) for end in ends} == {
        (first, "cancelled"),
        (second, "cancelled"),
    }
    assert watch.returncode == 1


def test_watch_of_jobs_that_have_ended_says_so_at_once(cli: Cli) -> None:
    job_id = enqueue(cli)
    cli.ok("worker", "--drain")

    by_id = cli("watch", job_id)
    by_filter = cli("watch", "--name", "Charge")

    assert (by_id.exit_code, by_filter.exit_code) == (0, 0)
    assert "completed" in by_id.stdout
    assert by_filter.stdout == ""
    assert "nothing to watch" in by_filter.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["0197a3c2", "--name", "Charge"], "either ids or filters"),
        (["--status", "failed"], "failed jobs have ended"),
        (["--interval", "0"], "--interval"),
    ],
)
def test_watch_that_could_show_nothing_is_used_wrongly(
    cli: Cli, arguments: list[str], said: str
) -> None:
    result = cli("watch", *arguments)

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_watch_of_everything_goes_on_until_it_is_interrupted(cli: Cli, start: Start) -> None:
    watch = start("watch", "--json")
    assert json.loads(lines_of(watch).readline()) == {"queues": {}}

    job_id = enqueue(cli, "--queue", "mail")
    counts = json.loads(lines_of(watch).readline())["queues"]
    cli.ok("cancel", job_id)
    assert json.loads(lines_of(watch).readline()) == {"queues": {}}
    watch.send_signal(signal.SIGINT)
    _, remarks = watch.communicate(timeout=20)

    assert counts["mail"]["due"] == 1
    assert watch.returncode == 130
    assert "Traceback" not in remarks


# ── on a terminal ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "exit_code", "status"), [("y", 0, "cancelled"), ("n", 1, "pending")]
)
def test_question_counts_the_jobs_and_the_answer_decides(
    cli: Cli, answer: str, exit_code: int, status: str
) -> None:
    ids = [enqueue(cli) for _ in range(2)]

    code, shown = on_terminal(cli, "cancel", "--name", "Charge", typed=f"{answer}\n")

    assert "Cancel 2 jobs (2 pending)? [y/N]" in shown
    assert ("nothing was done" in shown) is (answer == "n")
    assert code == exit_code
    assert {cli.json("show", job_id)["status"] for job_id in ids} == {status}


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_terminal_shows_the_ends_in_colour_unless_that_is_turned_off(
    cli: Cli, no_color: str, coloured: bool
) -> None:
    job_id = enqueue(cli)
    cli.ok("worker", "--drain")

    code, shown = on_terminal(cli, "watch", job_id, NO_COLOR=no_color)

    assert code == 0
    assert job_id in shown
    assert "1 completed" in shown.replace("\x1b[32m", "").replace("\x1b[0m", "")
    assert ("\x1b[32m" in shown) is coloured


# ── completion ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_learns_to_complete(cli: Cli, shell: str) -> None:
    done = subprocess.run(
        [SERVER_JOBS, "--show-completion", shell],
        env=environment(cli, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"),
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert done.returncode == 0, done.stderr
    assert "_SERVER_JOBS_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("server-jobs re", ["retry"]),
        ("server-jobs list --sta", ["--status"]),
        ("server-jobs list --status c", ["completed", "cancelled"]),
    ],
)
def test_commands_options_and_statuses_are_completed(
    cli: Cli, words: str, offered: list[str]
) -> None:
    env = environment(
        cli,
        _SERVER_JOBS_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )

    done = subprocess.run([SERVER_JOBS], env=env, capture_output=True, text=True, timeout=20)

    assert done.stdout.split() == offered, done.stderr
