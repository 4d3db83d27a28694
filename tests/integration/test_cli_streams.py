"""The command line on streams that are closed, full, cut off, or poor in letters."""

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.support.cli import CLI_APP, Cli, process_state  # noqa: F401 - a fixture
from tests.support.terminal import SERVER_JOBS, environment, on_terminal

ROOT = Path(__file__).resolve().parents[2]
NASTY = "\x1b[31mred\x9b2J\u202eright é 日本 👩\u200d🚀 …\u2028end"
OBEYED = set("\x1b\x9b\u202e\u2028")

COMMANDS = {
    "list": ("list",),
    "list-json": ("list", "--json"),
    "list-ids": ("list", "--ids"),
    "show": ("show", "{id}"),
    "show-json": ("show", "{id}", "--json"),
    "stats": ("stats",),
    "stats-json": ("stats", "--json"),
    "watch": ("watch", "{id}"),
    "watch-json": ("watch", "{id}", "--json"),
    "doctor": ("doctor",),
    "doctor-json": ("doctor", "--json"),
    "retry": ("retry", "--all", "--dry-run"),
    "prune": ("prune", "--older-than", "0", "--dry-run"),
    "schedule-list": ("schedule", "list"),
    "schedule-list-json": ("schedule", "list", "--json"),
    "schedule-show": ("schedule", "show", "nightly"),
    "explain": ("schedule", "explain", "30 2 * * *", "--time-zone", "Europe/Zurich"),
    "help": ("worker", "--help"),
}
STATUS = {"watch": 1, "watch-json": 1, "doctor": 1, "doctor-json": 1}
"""The job has failed, and no worker knows its name."""

WRAPPED = {"show", "schedule-show", "explain", "help", "doctor"}
"""These show texts that are long, over several lines."""

pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture
def cli(sqlite_url: str) -> Cli:
    cli = Cli(app=f"{CLI_APP}:registry", database_url=sqlite_url)
    cli.ok("migrate")
    return cli


@pytest.fixture
def job_id(cli: Cli) -> str:
    """A failed job and a pending one, with texts that no terminal should be given as they are."""
    pending = cli.ok("enqueue", "Charge", "--param", "number=7")
    job_id = cli.ok("enqueue", "Charge", "--param", "number=7")
    cli.ok("schedule", "add", "nightly", "30 2 * * *", "Charge", "--param", "number=1")
    texts = dict.fromkeys(
        ("job_name", "queue", "error", "progress_message", "correlation_id", "worker_id"), NASTY
    )
    error = {"attempt": 1, "type": NASTY, "message": NASTY, "traceback": "", "worker": NASTY}
    documents = {"params": json.dumps({NASTY: NASTY}), "errors": json.dumps([error])}
    with sqlite3.connect(cli.settings["database_url"].removeprefix("sqlite:///")) as connection:
        # Tables of an older release have such rows.
        connection.execute("PRAGMA ignore_check_constraints = ON")
        changes = ", ".join(f"{name} = :{name}" for name in texts | documents)
        connection.execute(
            f"UPDATE jobs SET {changes}, status = 'failed', ready = 0, completed_at = created_at"
            " WHERE id = :id",
            {**texts, **documents, "id": job_id},
        )
        connection.execute(
            "UPDATE jobs SET job_name = ?, scheduled_for = '2026-01-01 00:00:00.000000'"
            " WHERE id = ?",
            (NASTY, pending),
        )
        connection.execute(
            "UPDATE cron_jobs SET last_decision = 'broken', last_note = :text, queue = :text,"
            " managed_by = :text",
            {"text": NASTY},
        )
    connection.close()
    return job_id


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        *((name, "ascii") for name in COMMANDS),
        *((name, "utf-8") for name in ("list", "list-json", "list-ids", "show", "watch-json")),
        *((name, "latin-1") for name in ("list-json", "doctor")),
    ],
)
def test_every_command_says_all_in_every_encoding_and_no_terminal_obeys_it(
    cli: Cli, job_id: str, name: str, encoding: str
) -> None:
    command = [word.format(id=job_id) for word in COMMANDS[name]]

    done = subprocess.run(
        [SERVER_JOBS, *command],
        cwd=ROOT,
        env=environment(cli, PYTHONIOENCODING=encoding),
        capture_output=True,
        timeout=60,
    )

    assert b"Traceback" not in done.stderr
    assert done.returncode == STATUS.get(name, 0)
    shown, told = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert not set(shown + told) & OBEYED
    if name.endswith("-json"):
        documents = shown.splitlines() if name == "watch-json" else [shown]
        assert [json.loads(document) for document in documents]
    if name in {"list", "show", "stats"}:
        assert "\\x1b[31mred\\x9b2J\\u202eright" in shown
    if name in {"list-json", "show-json", "watch-json"}:
        assert f'"job_name": {json.dumps(NASTY)}' in json.dumps(json.loads(shown))


@pytest.mark.parametrize(("width", "locale"), [(20, "C"), (80, "C.UTF-8")])
@pytest.mark.parametrize("name", [name for name in COMMANDS if not name.endswith("-json")])
def test_every_command_fits_every_terminal(
    cli: Cli, job_id: str, name: str, width: int, locale: str
) -> None:
    command = [word.format(id=job_id) for word in COMMANDS[name]]
    # Python takes every locale for UTF-8 where it is told to, or where the locale has no name.
    bare = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1", "TERM": "dumb"}

    status, shown = on_terminal(cli, *command, COLUMNS=str(width), LC_ALL=locale, **bare)

    assert "Traceback" not in shown
    assert status == STATUS.get(name, 0)
    assert not set(shown) & OBEYED
    if locale != "C.UTF-8":
        assert shown.isascii()
    if name not in {*WRAPPED, "list-ids", "watch"}:
        wide = [line for line in shown.splitlines() if cell_len(line) > width]
        assert all("  " not in line for line in wide), "only sentences are left to the terminal"


@pytest.mark.parametrize("columns", ["0", "-1", "abc", "²", "", "99999999999999999999"])
def test_width_that_is_none_is_not_taken(cli: Cli, job_id: str, columns: str) -> None:
    status, shown = on_terminal(cli, "list", COLUMNS=columns, NO_COLOR="1")

    assert status == 0
    assert job_id in shown


CLOSED = [
    ("server-jobs list >&-", 0),
    ("server-jobs list 2>&-", 0),
    ("server-jobs list <&- >&- 2>&-", 0),
    ("server-jobs show nothing >&- 2>&-", 1),
    ("server-jobs cancel --name Charge <&-", 2),
    ("server-jobs enqueue Charge --params-json - <&-", 2),
    ("server-jobs enqueue Charge --param number=1 >&-", 0),
    ("server-jobs worker --drain 2>&-", 0),
    ("server-jobs worker --drain >&- 2>&- <&-", 0),
    ("server-jobs worker --drain 2>/dev/full", 0),
    ("server-jobs list 2>/dev/full", 0),
    ("server-jobs show nothing 2>/dev/full", 1),
    ("server-jobs --help >&-", 0),
    ("server-jobs run --help >&-", 0),
]


@pytest.mark.parametrize(("command", "status"), CLOSED)
def test_closed_streams_and_a_full_stderr_change_no_status(
    cli: Cli, command: str, status: int
) -> None:
    cli.ok("enqueue", "Charge", "--param", "number=1")

    done = shell(cli, command)

    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", ["list", "list --json", "list --ids", "stats", "doctor", "--help", "--version"]
)
def test_output_that_is_lost_is_a_failure_that_says_so(cli: Cli, command: str) -> None:
    cli.ok("enqueue", "Charge", "--param", "number=1")

    done = shell(cli, f"server-jobs {command} >/dev/full")

    assert done.returncode == 1
    assert done.stderr.startswith("Error: the output is lost or cut off")
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["list", "list --json", "schema", "--help", "run --help"])
def test_pipe_that_nobody_reads_ends_a_command_without_a_word(cli: Cli, command: str) -> None:
    cli.ok("enqueue", "Charge", "--param", "number=1")

    done = shell(cli, f"set -o pipefail; (sleep 1; exec server-jobs {command}) | true")

    assert (done.returncode, done.stderr) == (141, "")


def shell(cli: Cli, command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-c", command.replace("server-jobs", f"'{SERVER_JOBS}'")],
        cwd=ROOT,
        env=environment(cli),
        capture_output=True,
        text=True,
        timeout=60,
    )
