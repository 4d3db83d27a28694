"""Running migrations: once, again, all at once, beside other people's tables."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from server_jobs.database import connect
from server_jobs.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    ForeignTableError,
    MigrationRequiredError,
    SchemaTooNewError,
)
from server_jobs.migrate import migrate
from server_jobs.sql.tables import SCHEMA_VERSION
from server_jobs.store.store import Store
from tests.support.processes.forks import forked
from tests.support.scene import claim_of, new_job
from tests.support.servers.postgres import temporary_database

STEPS = ["0001", "0002", "0003", "0004"]


@contextmanager
def opened(url: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Run plain SQL, as a person at a console would."""
    connection: Any
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    else:
        connection = psycopg.connect(url)

    def run(sql: str) -> list[tuple[Any, ...]]:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []

    with contextlib.closing(connection):
        yield run
        connection.commit()


async def works(url: str, **names: str) -> bool:
    """Whether a job can be enqueued and claimed there."""
    database = connect(url, **names)  # type: ignore[arg-type]
    try:
        store = Store(database)
        await store.check_schema()
        (job_id,) = await store.enqueue([new_job()])
        return [job.id for job in await store.claim(claim_of())] == [job_id]
    finally:
        await database.close()


async def check_schema(url: str) -> None:
    database = connect(url)
    try:
        await Store(database).check_schema()
    finally:
        await database.close()


async def test_first_migration_makes_the_tables(database_url: str) -> None:
    assert migrate(database_url) == STEPS
    assert await works(database_url)


async def test_second_migration_finds_nothing_to_do(database_url: str) -> None:
    migrate(database_url)
    assert await works(database_url)

    assert migrate(database_url) == []

    with opened(database_url) as run:
        assert run("SELECT count(*) FROM jobs") == [(1,)]
        assert run("SELECT count(*) FROM server_jobs_schema") == [(1,)]


def test_of_several_threads_one_migrates_and_the_others_find_it_done(database_url: str) -> None:
    threads = 6
    at_once = threading.Barrier(threads)

    def run(_: int) -> list[str]:
        at_once.wait()
        return migrate(database_url)

    with ThreadPoolExecutor(threads) as pool:
        taken = sorted(pool.map(run, range(threads)))

    assert taken == [[]] * (threads - 1) + [STEPS]


async def test_several_processes_migrate_at_once(database_url: str) -> None:
    with ExitStack() as children:
        for _ in range(4):
            children.enter_context(forked(lambda: migrate(database_url)))

    assert migrate(database_url) == []
    assert await works(database_url)


async def test_two_prefixes_live_side_by_side(database_url: str) -> None:
    assert migrate(database_url, table_prefix="a_") == STEPS
    assert migrate(database_url, table_prefix="b_") == STEPS

    assert await works(database_url, table_prefix="a_")
    with opened(database_url) as run:
        assert run("SELECT count(*) FROM a_jobs") == [(1,)]
        assert run("SELECT count(*) FROM b_jobs") == [(0,)]


async def test_prefix_comes_from_the_environment(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_JOBS_TABLE_PREFIX", "mine_")
    migrate(database_url)

    assert await works(database_url)
    with opened(database_url) as run:
        assert run("SELECT count(*) FROM mine_jobs") == [(1,)]


async def test_schema_is_made_and_used(postgres_url: str) -> None:
    assert migrate(postgres_url, schema="work") == STEPS
    assert migrate(postgres_url, schema="work") == []

    assert await works(postgres_url, schema="work")
    with opened(postgres_url) as run:
        assert run("SELECT schemaname FROM pg_tables WHERE tablename = 'jobs'") == [("work",)]


@pytest.mark.parametrize("schema", ["Shop", "user", "s" * 63], ids=["capital", "word", "longest"])
async def test_schema_of_any_name_is_used(postgres_url: str, schema: str) -> None:
    names = {"schema": schema, "table_prefix": "p" * 30}
    migrate(postgres_url, **names)

    assert migrate(postgres_url, **names) == []
    assert await works(postgres_url, **names)


async def test_long_names_dont_keep_news_from_listeners(postgres_url: str) -> None:
    names = {"schema": "s" * 63, "table_prefix": "p" * 30}
    migrate(postgres_url, **names)
    listener, other = (connect(postgres_url, **names) for _ in range(2))  # type: ignore[arg-type]
    try:
        await listener.wait_for_change(0)
        waiting = asyncio.create_task(listener.wait_for_change(30))
        await Store(other).enqueue([new_job()])
        await asyncio.wait_for(waiting, timeout=5)
    finally:
        await listener.close()
        await other.close()


@pytest.mark.parametrize(
    ("database_url", "scheme"),
    [
        ("sqlite", "sqlite+aiosqlite"),
        ("postgres", "postgres"),
        ("postgres", "postgresql+asyncpg"),
        ("postgres", "postgresql+psycopg"),
    ],
    indirect=["database_url"],
)
async def test_url_of_the_users_own_driver_leads_to_the_same_tables(
    database_url: str, scheme: str
) -> None:
    _, _, rest = database_url.partition("://")

    assert migrate(f"{scheme}://{rest}") == STEPS
    assert await works(f"{scheme}://{rest}")
    assert migrate(database_url) == []


def test_users_own_alembic_version_is_left_alone(database_url: str) -> None:
    with opened(database_url) as run:
        run("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        run("INSERT INTO alembic_version VALUES ('abc123')")

    migrate(database_url)

    with opened(database_url) as run:
        assert run("SELECT version_num FROM alembic_version") == [("abc123",)]
        assert run("SELECT version_num FROM server_jobs_version") == [(STEPS[-1],)]


# ── what isn't ours ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def url_of_others(database_url: str) -> str:
    """A database in which somebody else has a table of our name."""
    with opened(database_url) as run:
        run("CREATE TABLE jobs (number INTEGER PRIMARY KEY, title TEXT)")
        run("INSERT INTO jobs VALUES (1, 'Clerk')")
    return database_url


def table_names(url: str) -> set[str]:
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if url.startswith("sqlite")
        else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )
    with opened(url) as run:
        return {name for (name,) in run(query)}


def test_migration_refuses_a_foreign_table_and_touches_nothing(url_of_others: str) -> None:
    with pytest.raises(ForeignTableError, match="SERVER_JOBS_TABLE_PREFIX"):
        migrate(url_of_others)

    assert table_names(url_of_others) == {"jobs"}
    with opened(url_of_others) as run:
        assert run("SELECT * FROM jobs") == [(1, "Clerk")]


def test_migration_refuses_a_foreign_table_of_schedules(database_url: str) -> None:
    with opened(database_url) as run:
        run("CREATE TABLE cron_jobs (id INTEGER)")

    with pytest.raises(ForeignTableError, match="cron_jobs"):
        migrate(database_url)

    assert table_names(database_url) == {"cron_jobs"}


async def test_prefix_gets_along_with_a_foreign_table(url_of_others: str) -> None:
    migrate(url_of_others, table_prefix="sj_")

    assert await works(url_of_others, table_prefix="sj_")
    with opened(url_of_others) as run:
        assert run("SELECT * FROM jobs") == [(1, "Clerk")]


async def test_worker_refuses_a_foreign_table(url_of_others: str) -> None:
    with pytest.raises(ForeignTableError, match="SERVER_JOBS_TABLE_PREFIX"):
        await check_schema(url_of_others)


# ── too old, too new ─────────────────────────────────────────────────────────────────────────


async def test_empty_database_asks_for_a_migration(database_url: str) -> None:
    with pytest.raises(MigrationRequiredError, match="server-jobs migrate"):
        await check_schema(database_url)


async def test_tables_without_a_version_ask_for_a_migration(database_url: str) -> None:
    migrate(database_url)
    with opened(database_url) as run:
        run("DELETE FROM server_jobs_schema")

    with pytest.raises(MigrationRequiredError, match="server-jobs migrate"):
        await check_schema(database_url)


async def test_newer_tables_that_still_serve_this_code_are_fine(database_url: str) -> None:
    # Running pods finish across an upgrade.
    migrate(database_url)
    with opened(database_url) as run:
        run(f"UPDATE server_jobs_schema SET version = {SCHEMA_VERSION + 5}")

    await check_schema(database_url)


async def test_tables_that_are_too_new_say_so(database_url: str) -> None:
    migrate(database_url)
    with opened(database_url) as run:
        run(
            f"UPDATE server_jobs_schema SET version = {SCHEMA_VERSION + 5},"
            f" oldest_code = {SCHEMA_VERSION + 1}"
        )

    with pytest.raises(SchemaTooNewError, match="upgrade server-jobs"):
        await check_schema(database_url)


def test_migration_by_an_older_release_is_refused(database_url: str) -> None:
    migrate(database_url)
    with opened(database_url) as run:
        run("UPDATE server_jobs_version SET version_num = '9999'")

    with pytest.raises(SchemaTooNewError, match="9999"):
        migrate(database_url)


# ── out of reach ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["sqlite", "postgres"])
def unreachable_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'no-such-folder' / 'jobs.db'}"
    return f"postgresql://me:s3cret@/jobs?host={tmp_path}"


def test_migration_says_that_it_cannot_reach_the_database(unreachable_url: str) -> None:
    with pytest.raises(DatabaseUnavailableError) as caught:
        migrate(unreachable_url)

    assert "s3cret" not in str(caught.value)


async def test_statement_says_that_it_cannot_reach_the_database(unreachable_url: str) -> None:
    with pytest.raises(DatabaseUnavailableError) as caught:
        await works(unreachable_url)

    assert "s3cret" not in str(caught.value)


def test_a_database_without_text_is_refused_with_the_way_out(postgres_server: str) -> None:
    with (
        temporary_database(postgres_server, "SQL_ASCII") as url,
        pytest.raises(ConfigurationError, match=r"SQL_ASCII.*ENCODING 'UTF8'"),
    ):
        migrate(url)
