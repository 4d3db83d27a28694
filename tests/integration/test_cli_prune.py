"""``server-jobs prune`` on real databases."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from server_jobs import JobStatus, connect
from server_jobs.cli import confirmation
from server_jobs.sql.statement import Statement
from server_jobs.sql.tables import tables
from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture
from tests.support.databases.old_tables import make_tables_at, run_sql

COMPLETED, FAILED, CANCELLED = JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED

pytestmark = pytest.mark.usefixtures("process_state")


def on(url: str, statement: Callable[[Any], Any]) -> list[tuple[Any, ...]]:
    """Run a statement on the table of jobs."""

    async def run() -> list[tuple[Any, ...]]:
        database = connect(url)
        try:
            return await database.execute(Statement(statement(database.tables.jobs)))
        finally:
            await database.close()

    return asyncio.run(run())


def ids(url: str) -> set[str]:
    return {job_id for (job_id,) in on(url, lambda jobs: select(jobs.c.id))}


@pytest.fixture
def filled_url(database_url: str) -> str:
    """One job of each end and name, ten days old and new ones, and two live ones."""
    Cli(database_url=database_url).ok("migrate")
    now = datetime.now(UTC)
    rows = [
        {
            "id": f"{status}-{name}-{days}",
            "job_name": name,
            "status": status.value,
            "completed_at": now - timedelta(days=days) if status.finished else None,
            "created_at": now - timedelta(days=days),
        }
        for status in (COMPLETED, FAILED, CANCELLED, JobStatus.PENDING)
        for name in ("A", "B")
        for days in (10, 0)
    ]
    on(database_url, lambda jobs: insert(jobs).values(rows))
    return database_url


def old(*statuses: JobStatus, names: str = "AB") -> set[str]:
    return {f"{status}-{name}-10" for status in statuses for name in names}


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ((), old(COMPLETED, FAILED, CANCELLED)),
        (("--status", "failed"), old(FAILED)),
        (("--status", "failed", "--status", "CANCELLED"), old(FAILED, CANCELLED)),
        (("--name", "A"), old(COMPLETED, FAILED, CANCELLED, names="A")),
        (("--name", "A", "--name", "B", "--status", "completed"), old(COMPLETED)),
        (("--name", "C"), set()),
    ],
    ids=["all", "status", "statuses", "name", "names", "nothing"],
)
def test_what_ended_long_ago_and_fits_is_deleted(
    filled_url: str, options: tuple[str, ...], gone: set[str]
) -> None:
    cli = Cli(database_url=filled_url)
    before = ids(filled_url)

    foreseen = cli.json("prune", "--older-than", "7d", "--dry-run", *options)
    assert ids(filled_url) == before
    done = cli.json("prune", "--older-than", "7d", "--yes", *options)

    assert ids(filled_url) == before - gone
    assert foreseen == {**done, "dry_run": True}
    assert (done["dry_run"], done["total"]) == (False, len(gone))
    assert sum(done["pruned"].values()) == len(gone)


def test_counts_are_said_in_words(filled_url: str) -> None:
    cli = Cli(database_url=filled_url)
    counts = "6 jobs (2 completed, 2 failed, 2 cancelled)"

    foreseen = cli.ok("prune", "--older-than", "7d", "--dry-run")

    assert foreseen == f"nothing was deleted; without --dry-run: {counts}"
    assert cli.ok("prune", "--older-than", "7d", "--yes") == f"deleted {counts}"
    assert cli.ok("prune", "--older-than", "7d", "--yes") == "deleted 0 jobs"


def test_age_of_nothing_means_all_that_have_ended(filled_url: str) -> None:
    Cli(database_url=filled_url).ok("prune", "--older-than", "0", "--yes")

    assert ids(filled_url) == {f"pending-{name}-{days}" for name in "AB" for days in (10, 0)}


MOMENTS = {
    "sqlite": ["'seven digits'", "char(0)", "x'00'", "'294276-12-31 00:00:00'", "12345"],
    "postgresql": ["'infinity'", "'294276-12-31'"],
}
"""What tables of an older release take for the moment of an end, and no end is before."""


@pytest.mark.parametrize("options", [(), ("--status", "failed"), ("--name", "B")])
def test_age_of_nothing_needs_no_moment_of_the_end(
    database_url: str, options: tuple[str, ...]
) -> None:
    make_tables_at("0003", database_url, tables())
    dialect = database_url.partition(":")[0]
    rows = [
        f"('{status}-{name}-{number}', '{name}', '{status}', false, {moment})"
        for number, moment in enumerate(MOMENTS[dialect])
        for status, name in (("failed", "B"), ("completed", "A"), ("completed", "B"))
    ]
    ignoring = "PRAGMA ignore_check_constraints = on; " if dialect == "sqlite" else ""
    run_sql(
        database_url,
        f"{ignoring}INSERT INTO jobs (id, job_name, status, ready, completed_at) VALUES "
        + ", ".join(rows),
    )
    before = ids(database_url)
    cli = Cli(database_url=database_url)

    foreseen = cli.json("prune", "--older-than", "0", "--dry-run", *options)
    done = cli.json("prune", "--older-than", "0", "--yes", *options)

    kept = {
        (): set(),
        ("--status", "failed"): {job_id for job_id in before if "completed" in job_id},
        ("--name", "B"): {job_id for job_id in before if "-A-" in job_id},
    }
    assert ids(database_url) == kept[options]
    assert foreseen["total"] == done["total"] == len(before) - len(kept[options])


def test_without_a_terminal_nothing_is_deleted_unless_yes_is_said(filled_url: str) -> None:
    before = ids(filled_url)

    result = Cli(database_url=filled_url)("prune", "--older-than", "7d", stdin="y\n")

    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert ids(filled_url) == before


@pytest.mark.parametrize(("answer", "exit_code", "deleted"), [("y", 0, 6), ("n", 1, 0), ("", 1, 0)])
def test_person_at_a_terminal_is_asked(
    filled_url: str,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    exit_code: int,
    deleted: int,
) -> None:
    class Terminal:
        """What the command sees of a person's two streams."""

        @staticmethod
        def isatty() -> bool:
            return True

    class WithTerminal:
        stdin = stderr = Terminal

    monkeypatch.setattr(confirmation, "sys", WithTerminal)
    before = ids(filled_url)

    result = Cli(database_url=filled_url)("prune", "--older-than", "7d", stdin=f"{answer}\n")

    assert result.exit_code == exit_code
    assert "Delete 6 jobs (2 completed, 2 failed, 2 cancelled), for good?" in result.stderr
    assert len(before) - len(ids(filled_url)) == deleted


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "--older-than"),
        (("--older-than", "soon"), "--older-than"),
        (("--older-than", "forever"), "--older-than"),
        (("--older-than", "7d", "--status", "running"), "--status"),
    ],
    ids=["no-age", "no-duration", "for-ever", "live"],
)
def test_what_makes_no_sense_is_refused_before_anything_is_deleted(
    filled_url: str, options: tuple[str, ...], complaint: str
) -> None:
    before = ids(filled_url)

    result = Cli(database_url=filled_url)("prune", "--yes", *options)

    assert result.exit_code == 2
    assert complaint in result.stderr
    assert ids(filled_url) == before


def test_worker_takes_from_the_command_line_how_long_jobs_are_kept(sqlite_url: str) -> None:
    cli = Cli(database_url=sqlite_url, app="tests.support.cli_app:registry", keep_failed="1 year")
    cli.ok("migrate")

    result = cli("worker", "--drain")

    assert result.exit_code == 2
    assert "--keep-failed" in result.stderr
    cli.settings["keep_failed"] = "forever"
    cli.ok("worker", "--drain", "--keep-completed", "0", "--keep-cancelled", "1d12h")
