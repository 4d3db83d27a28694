"""list, show, retry and cancel: which jobs are meant, and what becomes of them."""

import asyncio
import json
import shlex
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from server_jobs import connect
from server_jobs.cli import changes
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.outcomes import Failed
from server_jobs.records.rows import Claim
from server_jobs.store.store import Store
from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture
from tests.support.databases.raw_sql import run

APP = "tests.support.cli_app:registry"
T = TypeVar("T")

pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture
def cli(sqlite_url: str) -> Cli:
    """On a migrated SQLite file."""
    cli = Cli(app=APP, database_url=sqlite_url)
    cli.ok("migrate")
    return cli


def enqueue(cli: Cli, *options: str, number: int = 1) -> str:
    return cli.ok("enqueue", "Charge", "--params-json", json.dumps({"number": number}), *options)


def cancelled(cli: Cli, *options: str) -> str:
    job_id = enqueue(cli, *options)
    cli.ok("cancel", job_id)
    return job_id


def on_store(cli: Cli, act: Callable[[Store], Awaitable[T]]) -> T:
    async def run() -> T:
        database = connect(cli.settings["database_url"])
        try:
            return await act(Store(database))
        finally:
            await database.close()

    return asyncio.run(run())


def start(cli: Cli, job_id: str, lease_seconds: float = 60) -> None:
    async def claim(store: Store) -> None:
        worker_id = "local/host-1/4711/0a1b2c3d"
        assert await store.claim_one(job_id, worker_id=worker_id, lease_seconds=lease_seconds)

    on_store(cli, claim)


def status(cli: Cli, job_id: str) -> str:
    shown: str = cli.json("show", job_id)["status"]
    return shown


# ── list ─────────────────────────────────────────────────────────────────────────────────────


def test_filters_may_be_repeated_and_combined(cli: Cli) -> None:
    mail = enqueue(cli, "--queue", "mail")
    text = cancelled(cli, "--queue", "text")
    enqueue(cli, "--queue", "other")

    two_queues = cli.json("list", "--queue", "mail", "--queue", "text")
    both = cli.json("list", "--status", "PENDING", "--status", "cancelled", "--queue", "text")

    assert [job["id"] for job in two_queues] == [text, mail]
    assert [job["id"] for job in both] == [text]


def test_age_chooses_jobs_by_when_they_were_created(cli: Cli) -> None:
    enqueue(cli, "--delay", "3600")

    assert len(cli.json("list", "--newer-than", "1h")) == 1
    assert len(cli.json("list", "--older-than", "0")) == 1
    assert cli.json("list", "--older-than", "1h") == []
    assert cli.json("list", "--older-than", "15m", "--newer-than", "2h") == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--older-than", "yesterday"], "--older-than"),
        (["--newer-than", "1h", "--older-than", "2h"], "nothing is older than 2h and newer"),
        (["--status", "broken"], "broken"),
        (["--limit", "0"], "--limit"),
        (["--ids", "--json"], "--ids"),
    ],
)
def test_filter_that_means_nothing_is_used_wrongly(cli: Cli, options: list[str], said: str) -> None:
    result = cli("list", *options)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("form", [[], ["--ids"], ["--json"]])
def test_hint_leads_to_the_next_page_as_it_is_printed(cli: Cli, form: list[str]) -> None:
    ids = [enqueue(cli, "--queue", "it's-mail") for _ in range(3)]
    enqueue(cli)
    asked = ["list", "--queue", "it's-mail", "--newer-than", "90m", "--limit", "2", *form]

    first = cli(*asked)
    _, _, command = first.stderr.strip().partition("server-jobs ")
    second = cli(*shlex.split(command))

    assert ids[0] not in first.stdout
    assert [job_id in second.stdout for job_id in ids] == [True, False, False]
    assert second.stderr == ""


def test_hint_names_a_database_that_was_typed_but_no_password(cli: Cli) -> None:
    for _ in range(2):
        enqueue(cli)
    url = cli.settings["database_url"]

    by_flag = Cli()("list", "--limit", "1", "--database", url)
    by_environment = cli("list", "--limit", "1")

    assert f"--database {url}" in by_flag.stderr
    assert "--database" not in by_environment.stderr


def test_full_page_that_is_the_last_hints_at_no_other(cli: Cli) -> None:
    for _ in range(2):
        enqueue(cli)

    assert cli("list", "--limit", "2").stderr == ""


def test_page_begins_before_a_beginning_of_an_id_or_a_record_that_is_gone(cli: Cli) -> None:
    ids = [enqueue(cli) for _ in range(2)]
    # One that was pruned since the page before: still a moment to go on from.
    newer_than_all = "ffffffff-ffff-7fff-bfff-ffffffffffff"

    assert cli.ok("list", "--ids", "--before", ids[1][:30]) == ids[0]
    assert cli.ok("list", "--ids", "--before", newer_than_all).splitlines() == ids[::-1]
    unknown = cli("list", "--before", "ffff")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "no job whose id is or begins with ffff" in unknown.stderr


def test_ids_alone_are_for_other_programs(cli: Cli) -> None:
    ids = [enqueue(cli) for _ in range(2)]

    assert cli("list", "--ids").stdout == f"{ids[1]}\n{ids[0]}\n"
    nothing = cli("list", "--ids", "--queue", "none")
    assert (nothing.stdout, nothing.stderr) == ("", "")


# ── show ─────────────────────────────────────────────────────────────────────────────────────


def test_lease_is_shown_with_the_time_left_and_where_the_job_runs(cli: Cli) -> None:
    job_id = enqueue(cli)
    assert cli.json("show", job_id)["lease"] is None
    start(cli, job_id, lease_seconds=3_600)

    shown, claim = cli.ok("show", job_id), cli.json("show", job_id)["lease"]

    assert "process 4711 on host-1" in shown
    assert "59 min" in shown
    assert claim["expired"] is False
    assert 3_000 < claim["seconds_left"] <= 3_600
    assert claim["worker"] == {
        "id": "local/host-1/4711/0a1b2c3d",
        "backend": "local",
        "host": "host-1",
        "pid": 4711,
    }


def test_expired_lease_says_so(cli: Cli) -> None:
    job_id = enqueue(cli)
    start(cli, job_id, lease_seconds=-60)

    assert "expired 1 min" in cli.ok("show", job_id)
    assert cli.json("show", job_id)["lease"]["expired"] is True


def test_every_attempts_error_is_shown_with_its_traceback(cli: Cli) -> None:
    job_id = enqueue(cli)

    async def fail_twice(store: Store) -> None:
        for attempt, message in ((1, "first"), (2, "second")):
            claimed = await store.claim_one(job_id, worker_id="worker", lease_seconds=60)
            assert claimed is not None
            error = AttemptError(
                attempt, None, "OSError", message, f"Traceback of the {message}", "worker"
            )
            await store.settle({Claim(job_id, claimed.fence): Failed(error)})

    on_store(cli, fail_twice)

    shown = cli.ok("show", job_id)
    assert shown.index("Traceback of the first") < shown.index("Traceback of the second")
    assert [error["message"] for error in cli.json("show", job_id)["errors"]] == ["first", "second"]


def test_id_of_a_row_inserted_by_hand_is_found_as_it_is(cli: Cli) -> None:
    async def insert(store: Store) -> None:
        await run(store.database, "INSERT INTO jobs (id, job_name) VALUES ('By-Hand-1', 'Charge')")

    on_store(cli, insert)

    assert cli.json("show", "By-H")["id"] == "By-Hand-1"


# ── retry and cancel: jobs that are named ────────────────────────────────────────────────────


def test_named_jobs_are_cancelled_and_retried_without_a_question(cli: Cli) -> None:
    first, second = enqueue(cli), enqueue(cli)

    assert cli.ok("cancel", first[:30], second, first) == "2 cancelled"
    assert [status(cli, job_id) for job_id in (first, second)] == ["cancelled"] * 2
    assert cli.ok("retry", second) == "1 retried"
    assert status(cli, second) == "pending"


def test_running_job_is_asked_to_stop(cli: Cli) -> None:
    job_id = enqueue(cli)
    start(cli, job_id)

    assert cli.ok("cancel", job_id) == "0 cancelled, 1 asked to stop"
    assert "cancel asked" in cli.ok("show", job_id)


def test_named_job_that_cannot_be_changed_is_skipped_and_told_by_the_exit_status(
    cli: Cli,
) -> None:
    done, waiting = enqueue(cli), enqueue(cli, "--delay", "3600")
    cli.ok("worker", "--drain")

    result = cli("cancel", done, waiting)

    assert result.exit_code == 1
    assert result.stdout == "1 cancelled, 1 skipped\n"
    assert f"skipped: job {done} is completed" in result.stderr


def test_nothing_is_done_where_one_of_the_ids_is_unknown(cli: Cli) -> None:
    job_id = enqueue(cli)

    result = cli("cancel", job_id, "ffffffff")

    assert result.exit_code == 1
    assert "ffffffff" in result.stderr
    assert status(cli, job_id) == "pending"


def test_retry_says_which_job_has_the_unique_key(cli: Cli) -> None:
    old = cancelled(cli, "--unique-key", "order-17")
    enqueue(cli, "--unique-key", "order-17")

    result = cli("retry", old, "--json")

    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["retried"] == []
    (skipped,) = document["skipped"]
    assert (skipped["id"], skipped["status"]) == (old, "cancelled")
    assert "unique key 'order-17'" in skipped["reason"]


# ── retry and cancel: jobs that fit ──────────────────────────────────────────────────────────


def test_filter_changes_what_fits_and_nothing_else(database_url: str) -> None:
    cli = Cli(app=APP, database_url=database_url)
    cli.ok("migrate")
    mail = [enqueue(cli, "--queue", "mail") for _ in range(2)]
    other = enqueue(cli)

    assert cli.ok("cancel", "--queue", "mail", "--yes") == "2 cancelled"
    assert [status(cli, job_id) for job_id in [*mail, other]] == ["cancelled"] * 2 + ["pending"]

    assert cli.ok("retry", "--queue", "mail", "-y") == "2 retried"
    assert [status(cli, job_id) for job_id in mail] == ["pending"] * 2


def test_more_jobs_than_one_statement_takes_are_changed_in_batches(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "BATCH", 2)
    ids = [enqueue(cli) for _ in range(6)]

    result = cli.json("cancel", "--all", "--yes")

    assert result == {
        "dry_run": False,
        "cancelled": ids[::-1],
        "asked_to_stop": [],
        "skipped": [],
    }


def test_one_job_with_a_taken_key_stops_no_other_and_is_no_failure(cli: Cli) -> None:
    taken = cancelled(cli, "--unique-key", "k")
    free = [cancelled(cli) for _ in range(2)]
    enqueue(cli, "--unique-key", "k")

    result = cli("retry", "--all", "--yes")

    assert (result.exit_code, result.stdout) == (0, "2 retried, 1 skipped\n")
    assert f"job {taken} can't be retried" in result.stderr
    assert {status(cli, job_id) for job_id in free} == {"pending"}


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_dry_run_lists_what_would_be_done_and_does_nothing(cli: Cli, command: str) -> None:
    job_id = cancelled(cli) if command == "retry" else enqueue(cli)
    before = status(cli, job_id)

    shown = cli.ok(command, "--all", "--dry-run")
    named = cli.ok(command, job_id, "--dry-run")
    document = cli.json(command, "--all", "--dry-run")

    assert job_id in shown
    done = "retried" if command == "retry" else "cancelled"
    assert named == f"nothing was done; without --dry-run: 1 {done}"
    assert (document["dry_run"], document[done]) == (True, [job_id])
    assert status(cli, job_id) == before


def test_dry_run_tells_running_jobs_from_pending_ones(cli: Cli) -> None:
    running, pending = enqueue(cli), enqueue(cli)
    start(cli, running)

    document = cli.json("cancel", "--all", "--dry-run")

    assert (document["cancelled"], document["asked_to_stop"]) == ([pending], [running])


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_without_a_terminal_and_without_yes_nothing_is_done(cli: Cli, command: str) -> None:
    job_id = cancelled(cli) if command == "retry" else enqueue(cli)
    before = status(cli, job_id)

    result = cli(command, "--name", "Charge")

    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert f"{command.capitalize()} 1 job (1 {before})?" in " ".join(result.stderr.split())
    assert status(cli, job_id) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which jobs?"),
        (["0197a3c2", "--name", "Charge"], "either ids, or filters, or --all"),
        (["--all", "--name", "Charge"], "either ids, or filters, or --all"),
        (["0197a3c2", "--all"], "either ids, or filters, or --all"),
        (["--status", "completed", "--yes"], "completed jobs can't be"),
    ],
)
@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_jobs_are_never_chosen_by_mistake(
    cli: Cli, command: str, arguments: list[str], said: str
) -> None:
    enqueue(cli)

    result = cli(command, *arguments)

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert len(cli.json("list", "--status", "pending")) == 1


def test_filter_that_nothing_fits_is_no_failure(cli: Cli) -> None:
    result = cli("retry", "--name", "Charge")

    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "0 retried\n",
        "no jobs that fit\n",
    )
