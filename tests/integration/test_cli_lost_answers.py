"""The database never answers, though it may have done what was asked: the truth is told."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import server_jobs.cli.database
from server_jobs import connect
from server_jobs.database import Database
from server_jobs.sql.statement import Statement
from tests.support.cli import CLI_APP, Cli, process_state  # noqa: F401 - a fixture
from tests.support.databases.faulty import Fault, FaultyDatabase

pytestmark = pytest.mark.usefixtures("process_state")

Break = Callable[..., None]


@pytest.fixture
def cli(database_url: str) -> Cli:
    cli = Cli(app=f"{CLI_APP}:registry", database_url=database_url)
    cli.ok("migrate")
    return cli


@pytest.fixture
def break_writes(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Breaks the next write of each command so many times, once it was committed or before."""

    def break_writes(fault: Fault, times: int = 1) -> None:
        def connect_faulty(url: str) -> Database:
            database, left = FaultyDatabase(connect(url)), [times]

            def plan(statements: Sequence[Statement]) -> Fault | None:
                if left[0] and any(_writes(database, statement) for statement in statements):
                    left[0] -= 1
                    return fault
                return None

            database.plan = plan
            return database

        monkeypatch.setattr(server_jobs.cli.database, "connect", connect_faulty)

    return break_writes


def _writes(database: Database, statement: Statement) -> bool:
    shape: Any = statement.shape
    sql = str(shape.compile(dialect=database.dialect))
    return any(word in sql for word in ("INSERT", "UPDATE", "DELETE"))


def enqueued(cli: Cli, *more: str) -> str:
    return cli.ok("enqueue", "Charge", "--param", "number=1", *more)


def status(cli: Cli, job_id: str) -> str:
    return str(cli.json("show", job_id)["status"])


@pytest.mark.parametrize("fault", Fault)
def test_retry_and_cancel_count_what_was_done_though_the_answer_was_lost(
    cli: Cli, break_writes: Break, fault: Fault
) -> None:
    job_id, other = enqueued(cli), enqueued(cli)
    break_writes(fault)

    assert cli.ok("cancel", job_id) == "1 cancelled"
    assert cli.ok("retry", job_id) == "1 retried"
    assert status(cli, job_id) == "pending"
    assert cli.ok("cancel", "--all", "--yes") == "2 cancelled"
    assert cli.ok("retry", "--status", "cancelled", "--yes") == "2 retried"
    assert status(cli, other) == "pending"


def test_job_that_was_pending_all_along_is_not_called_retried(
    cli: Cli, break_writes: Break
) -> None:
    job_id = enqueued(cli)
    break_writes(Fault.AFTER)

    result = cli("retry", job_id)

    assert result.exit_code == 1
    assert result.stdout.strip() == "0 retried, 1 skipped"


@pytest.mark.parametrize("fault", Fault)
def test_job_is_enqueued_once_though_the_answer_was_lost(
    cli: Cli, break_writes: Break, fault: Fault
) -> None:
    break_writes(fault)

    job_ids = [enqueued(cli), enqueued(cli, "--unique-key", "one")]

    assert [job["id"] for job in cli.json("list")] == job_ids[::-1]


COMMANDS = {
    "enqueue": (("enqueue", "Charge", "--param", "number=1"), "list --name Charge --newer-than 5m"),
    "cancel": (("cancel", "{id}"), "server-jobs show {id}"),
    "cancel-many": (("cancel", "--all", "--yes"), "server-jobs show"),
    "prune": (("prune", "--older-than", "0", "--yes"), "The command can be given again"),
    "add": (("schedule", "add", "new", "@daily", "Charge", "--param", "number=1"), "show new"),
    "run-now": (("schedule", "run-now", "nightly"), "list --name Charge --newer-than 5m"),
    "disable": (("schedule", "disable", "nightly"), "schedule list"),
    "remove": (("schedule", "remove", "nightly", "--yes"), "schedule list"),
    "backfill": (
        ("schedule", "backfill", "nightly", "--from", "2026-01-01", "--to", "2026-01-03", "--yes"),
        "give the command again",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_stays_unknown_is_said_with_a_way_to_find_out(
    cli: Cli, break_writes: Break, name: str
) -> None:
    cli.ok("schedule", "add", "nightly", "@daily", "Charge", "--param", "number=1")
    ended, job_id = enqueued(cli), enqueued(cli)
    enqueued(cli)
    cli.ok("cancel", ended)
    command, advice = COMMANDS[name]
    break_writes(Fault.AFTER, times=1_000)

    result = cli(*(word.format(id=job_id) for word in command))

    assert result.exit_code == 1, result.output
    assert "the test broke the connection" in result.stderr
    assert advice.format(id=job_id) in result.stderr
    assert "may have been" in result.stderr or "stopped half-way" in result.stderr
    assert "Traceback" not in result.stderr
