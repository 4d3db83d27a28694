"""The operations page's SQL runs on both databases, and does what the page says."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import insert

from server_jobs import JobStatus, connect, create_job_registry, define_job, run_sync
from server_jobs.errors import DatabaseError
from server_jobs.migrate import migrate
from server_jobs.sql.statement import Statement
from server_jobs.store.retention import Keep, Retention
from server_jobs.store.store import Store
from server_jobs.worker import LocalWorker, WorkerConfig
from tests.support.pages.markdown import ROOT, CodeBlock, code_blocks, codes, tables

PAGE = ROOT / "docs" / "operations.md"
PAGES = (PAGE, ROOT / "docs" / "monitoring.md")
OWN_TEST = {"roles", "alert", "backup"}
"""Marks of blocks that a test of their own runs."""

Answer = list[tuple[Any, ...]]


def statements(*marks: str) -> list[str]:
    """Those of the page whose block has no other marks than these, one by one."""
    blocks = [block for block in sql_blocks() if set(block.marks) <= set(marks)]
    return [
        statement for block in blocks for statement in block.text.split(";\n") if statement.strip()
    ]


def sql_blocks() -> list[CodeBlock]:
    return [block for page in PAGES for block in code_blocks(page, "sql")]


def marked(mark: str, *others: str) -> list[str]:
    """Those whose block has the mark."""
    return [sql for sql in statements(mark, *others) if sql not in statements(*others)]


def dialect_of(url: str) -> str:
    return "sqlite" if url.startswith("sqlite") else "postgresql"


def execute(url: str, statement: str) -> Answer:
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()
    with psycopg.connect(url, autocommit=True) as postgres:
        cursor = postgres.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def row(status: JobStatus, ended: timedelta, **columns: Any) -> dict[str, Any]:
    """A job of that status; all rows have the same columns, so that one INSERT takes them."""
    now = datetime.now(UTC)
    claimed = status is not JobStatus.PENDING
    return {
        "id": str(uuid4()),
        "job_name": "SendEmail",
        "queue": "mail",
        "status": status.value,
        "scheduled_for": now,
        "handler_started_at": now - ended - timedelta(seconds=2) if claimed else None,
        "created_at": now - ended - timedelta(seconds=4),
        "completed_at": now - ended if status.finished else None,
        "worker_id": "worker-1" if claimed else None,
        "worker_expires_at": now + timedelta(minutes=5) if status is JobStatus.RUNNING else None,
        "fence": int(claimed),
        "attempt_count": int(claimed),
        "error": "no such address" if status is JobStatus.FAILED else None,
        **columns,
    }


def fill(url: str, rows: list[dict[str, Any]]) -> None:
    async def run() -> None:
        database = connect(url)
        try:
            await database.execute(Statement(insert(database.tables.jobs).values(rows)))
        finally:
            await database.close()

    asyncio.run(run())


def healthy() -> list[dict[str, Any]]:
    """Jobs of every status, none of which anybody needs to be told of."""
    return [
        row(JobStatus.COMPLETED, timedelta(minutes=10)),
        *(row(JobStatus.COMPLETED, timedelta(minutes=1), attempt_count=2) for _ in range(24)),
        row(JobStatus.FAILED, timedelta(minutes=2)),
        row(JobStatus.CANCELLED, timedelta(days=3)),
        row(JobStatus.PENDING, timedelta()),
        row(JobStatus.RUNNING, timedelta()),
    ]


@pytest.fixture
def healthy_url(database_url: str) -> str:
    migrate(database_url)
    fill(database_url, healthy())
    return database_url


def test_sql_runs_as_it_stands_on_a_database_with_jobs_in_it(healthy_url: str) -> None:
    answers = {sql: execute(healthy_url, sql) for sql in statements(dialect_of(healthy_url))}

    def answer(words: str) -> Answer:
        (found,) = [rows for sql, rows in answers.items() if words in sql]
        return found

    assert len(answer("The newest jobs")) == 20
    assert [job_name for _, job_name, *_ in answer("What failed last")] == ["SendEmail"]
    assert ("mail", "SendEmail", "completed", 25) in answer("How the work stands")
    assert answer("Who runs what")[0][:3] == ("worker-1", "SendEmail", 1)
    assert answer("more than one attempt") == [("SendEmail", 24, 2)]
    durations = {status: (count, ms) for _, status, count, ms in answer("How long jobs take")}
    assert durations["completed"][0] == 25
    assert 3_990 <= durations["completed"][1] <= 4_010
    ((rate,),) = answer("failures in the last hour")
    assert round(float(rate), 1) == round(100 / 28, 1)
    assert answer("Bytes per job")[0][0] > 0


def test_every_block_is_run_by_some_test() -> None:
    for block in sql_blocks():
        dialects = set(block.marks) & {"sqlite", "postgresql"}
        assert len(dialects) <= 1, f"line {block.line}"
        assert set(block.marks) - dialects <= OWN_TEST, f"line {block.line}"


# ── alerts ───────────────────────────────────────────────────────────────────────────────────


def alerts(url: str) -> dict[str, Answer]:
    dialect = dialect_of(url)
    return {sql.strip().splitlines()[0]: execute(url, sql) for sql in marked("alert", dialect)}


def test_alerts_keep_quiet_while_all_is_well(healthy_url: str) -> None:
    answers = alerts(healthy_url)

    assert len(answers) == 4
    assert not any(answers.values()), answers


def test_each_alert_tells_of_what_it_is_named_for(healthy_url: str) -> None:
    now = datetime.now(UTC)
    ill = {
        "-- Due": row(JobStatus.PENDING, timedelta(), scheduled_for=now - timedelta(minutes=6)),
        "-- Expired": row(
            JobStatus.RUNNING, timedelta(), worker_expires_at=now - timedelta(minutes=2)
        ),
        "-- Over": row(JobStatus.FAILED, timedelta(minutes=3)),
        "-- Nobody": row(JobStatus.CANCELLED, timedelta(days=32)),
    }

    told = []
    for one in ill.values():
        fill(healthy_url, [one])
        told.append([name for name, rows in alerts(healthy_url).items() if rows])

    names = list(ill)
    assert [[name[: len(names[i])] for i, name in enumerate(some)] for some in told] == [
        names[:count] for count in range(1, 5)
    ]


# ── retention ────────────────────────────────────────────────────────────────────────────────


def test_retention_times_are_those_of_the_code() -> None:
    (table,) = tables(PAGE)["Retention"]

    keep = Keep()
    documented = {codes(line["flag"])[0]: line["default"] for line in table}
    assert documented == {
        "--keep-completed": f"{(keep.completed or 0) / 86_400:g} days",
        "--keep-failed": f"{(keep.failed or 0) / 86_400:g} days",
        "--keep-cancelled": f"{(keep.cancelled or 0) / 86_400:g} days",
    }


# ── PostgreSQL's roles ───────────────────────────────────────────────────────────────────────


class Roles:
    """Roles by the page's names, under names of their own on the server."""

    NAMES = ("migrator", "worker", "enqueuer", "reporting")

    def __init__(self, url: str) -> None:
        self._url = url
        suffix = uuid4().hex[:8]
        self._real = {name: f"{name}_{suffix}" for name in self.NAMES}

    def url(self, name: str) -> str:
        """The database as that role sees it."""
        return f"{self._url}{'&' if '?' in self._url else '?'}options=-crole%3D{self._real[name]}"

    def run(self, sql: str) -> None:
        """A statement of the page."""
        for name, real in self._real.items():
            sql = sql.replace(f"TO {name}", f"TO {real}").replace(f"ROLE {name} ", f"ROLE {real} ")
        execute(self._url, sql)

    def create(self) -> None:
        for real in self._real.values():
            execute(self._url, f"CREATE ROLE {real}")

    def drop(self) -> None:
        for real in self._real.values():
            execute(self._url, f"DROP OWNED BY {real} CASCADE")
            execute(self._url, f"DROP ROLE {real}")


@pytest.fixture
def roles(postgres_url: str) -> Iterator[Roles]:
    roles = Roles(postgres_url)
    roles.create()
    yield roles
    roles.drop()


def test_roles_can_do_what_they_are_for_and_no_more(roles: Roles, postgres_url: str) -> None:
    for_migrator, *others = marked("roles", "postgresql")[2:]
    roles.run(for_migrator)
    migrate(roles.url("migrator"))
    for sql in [*others, *marked("roles", "postgresql")[:2]]:
        roles.run(sql)
    fill(postgres_url, [row(JobStatus.COMPLETED, timedelta(days=60), id="old")])

    @define_job(name="Double")
    async def double(params: int) -> int:
        return 2 * params

    enqueuers = connect(roles.url("enqueuer"))
    double.set_database(enqueuers)
    job_id = run_sync(double.later(21, unique_key="answer"))
    work(roles.url("worker"), double)

    result = run_sync(double.wait(job_id, timeout=10))
    assert result.data == 42
    with pytest.raises(DatabaseError, match="permission denied"):
        run_sync(Retention(Store(enqueuers), Keep(completed=0)).run_pass())
    with pytest.raises(DatabaseError, match="permission denied"):
        run_sync(double.cancel(job_id))
    run_sync(enqueuers.close())


def work(url: str, job: Any) -> None:
    """Drain the queue, declare and fire a schedule, and prune old records."""

    async def run() -> None:
        database = connect(url)
        registry = create_job_registry(app="roles").register(job)
        registry.schedule(job, "* * * * *", params=1)
        worker = LocalWorker(
            database=database, job_registry=registry, config=WorkerConfig(drain=True)
        )
        await worker.run_until_stopped()
        execute(url, "UPDATE cron_jobs SET next_run_at = date_trunc('minute', now())")
        assert len((await worker.fire_schedules()).job_ids) == 1
        assert await Retention(Store(database), Keep()).run_pass() == {JobStatus.COMPLETED: 1}
        await database.close()

    asyncio.run(run())


# ── SQLite's backup ──────────────────────────────────────────────────────────────────────────


def test_backup_of_a_file_in_use_is_whole(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(sqlite_url)
    monkeypatch.chdir(tmp_path)
    (backup,) = marked("backup", "sqlite")
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as in_use:
        fill(sqlite_url, healthy())
        in_use.execute("SELECT count(*) FROM jobs").fetchone()

        execute(sqlite_url, backup)

    restored = "sqlite:///backup.db"
    assert execute(restored, "SELECT count(*) FROM jobs") == [(len(healthy()),)]
    assert execute(restored, "PRAGMA integrity_check") == [("ok",)]
