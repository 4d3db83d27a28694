"""Roles and databases whose settings somebody chose for other programs."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from server_jobs.errors import MigrationRequiredError, ServerJobsError
from server_jobs.migrate import migrate
from server_jobs.monitoring.server_facts import hidden_tables
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store
from tests.support.cli import Cli
from tests.support.servers.strange import (
    Place,
    StrangeServer,
    cases,
    comes_of,
    echo_job,
    everything_works,
    set_up,
)
from tests.support.workers import drain, registry_of


def role(*settings: str, **more: str) -> StrangeServer:
    """A server whose role has these settings."""
    return StrangeServer(
        tuple(f"ALTER ROLE {{role}} SET {setting}" for setting in settings), **more
    )


def database(*settings: str) -> StrangeServer:
    """A server whose database has these settings."""
    return StrangeServer(
        tuple(f"ALTER DATABASE {{database}} SET {setting}" for setting in settings)
    )


SERVERS = {
    "as it comes": StrangeServer(),
    "a schema": StrangeServer(schema="work"),
    "a schema with capitals": StrangeServer(schema="Work"),
    "time zone": role("TimeZone = 'Asia/Kolkata'"),
    "time zone without a name": role("TimeZone = '<+0130>-01:30'"),
    "German dates": role("DateStyle = 'German, DMY'"),
    "SQL dates of a database": database("DateStyle = 'SQL, DMY'", "TimeZone = 'Europe/Berlin'"),
    "intervals": role("IntervalStyle = 'iso_8601'"),
    "LATIN1 client": role("client_encoding = 'LATIN1'"),
    "repeatable read": role("default_transaction_isolation = 'repeatable read'"),
    "serializable": database(
        "default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on"
    ),
    "short statements": role("statement_timeout = 30"),
    "short locks": role("lock_timeout = 1"),
    "short waits in transactions": role("idle_in_transaction_session_timeout = 10"),
    "short transactions": role("transaction_timeout = 50"),
    "short sessions": role("idle_session_timeout = 30"),
    "backslashes": role("standard_conforming_strings = off"),
    "no NULL in arrays": role("array_nulls = off"),
    "few digits": role("extra_float_digits = -15", "bytea_output = 'escape'"),
    "NULL equals NULL": role("transform_null_equals = on"),
    "asynchronous commit": role("synchronous_commit = off"),
    "generic plans": role("plan_cache_mode = 'force_generic_plan'"),
    "no indexes": role(
        "enable_indexscan = off", "enable_bitmapscan = off", "enable_indexonlyscan = off"
    ),
    "compiled queries": role("jit = on", "jit_above_cost = 0"),
    "errors only": role("client_min_messages = 'error'"),
    "default read-only": role(
        "default_transaction_read_only = on", refused=r"default_transaction_read_only = on"
    ),
    "default read-only, but not in the URL": role(
        "default_transaction_read_only = on",
        options="options=-c%20default_transaction_read_only%3Doff",
    ),
    "empty search path": role("search_path = ''", refused="SERVER_JOBS_SCHEMA"),
    "missing schema": role("search_path = 'nowhere'", refused="SERVER_JOBS_SCHEMA"),
    "empty search path, but a schema": role("search_path = ''", schema="work"),
    "shared sessions, serializable": role(
        "default_transaction_isolation = 'serializable'", options="pgbouncer=true"
    ),
    "shared sessions, German dates": role(
        "DateStyle = 'German, DMY'",
        "TimeZone = 'Asia/Kolkata'",
        "standard_conforming_strings = off",
        options="pgbouncer=true",
    ),
    "functions of the same names": StrangeServer(
        (
            "CREATE SCHEMA fake AUTHORIZATION {role}",
            "CREATE FUNCTION fake.statement_timestamp() RETURNS timestamptz LANGUAGE sql"
            " AS 'SELECT timestamptz ''1999-01-01'''",
            "ALTER ROLE {role} SET search_path = fake, public",
        )
    ),
    "LATIN1 database": StrangeServer(encoding="LATIN1", refused="ENCODING 'UTF8'"),
    "bytes": StrangeServer(encoding="SQL_ASCII", refused="ENCODING 'UTF8'"),
}


@cases(SERVERS)
async def test_everything_works_or_one_error_says_what_to_set(
    postgres_server: str, server: StrangeServer
) -> None:
    with set_up(postgres_server, server) as place:
        await comes_of(place, server)


async def test_at_serializable_nothing_conflicts_for_want_of_read_committed(
    postgres_server: str,
) -> None:
    level = StrangeServer(
        ("ALTER ROLE {role} SET default_transaction_isolation = 'serializable'",),
        options="pgbouncer=true",
    )
    with set_up(postgres_server, level) as place:
        await everything_works(place)
        async with place.database() as database:
            shown = Statement(text("SELECT current_setting('transaction_isolation')"))
            assert await database.execute(shown) == [("read committed",)]


async def test_tables_outside_of_the_search_path_are_not_said_to_be_missing_alone(
    postgres_server: str,
) -> None:
    with set_up(postgres_server, StrangeServer()) as place:
        await everything_works(place)
        place.sql(f"ALTER ROLE {place.role} SET search_path = 'nowhere'")
        async with place.database() as database:
            with pytest.raises(MigrationRequiredError, match="SERVER_JOBS_SCHEMA"):
                await Store(database).check_schema()


NAMES = ["a b.db", "a#b.db", "a%20b.db", "ü€.db", "a+b&c=d.db", 'it\'s "quoted".db', "@ho:st@.db"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["sqlite:///{}", "sqlite:////{folder}/{}", "'sqlite:///{}'\n"])
async def test_a_file_of_any_name_is_one_file_for_every_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    url = form.format(name, folder=str(tmp_path).lstrip("/"))

    await everything_works(Place("", url, "", None))

    assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()} == {
        name
    }
    listed = await asyncio.to_thread(Cli(database_url=url).ok, "list", "--limit", "100")
    assert listed.count("Echo") == 23


@pytest.mark.parametrize("use", [migrate, lambda url: Cli(database_url=url).ok("list")])
def test_a_folder_that_is_missing_is_named(tmp_path: Path, use: Callable[[str], object]) -> None:
    with pytest.raises((ServerJobsError, AssertionError), match="no-such-folder"):
        use(f"sqlite:///{tmp_path}/no-such-folder/jobs.db")
    with pytest.raises((ServerJobsError, AssertionError), match="is a folder"):
        use(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize("schema", [None, "Work"])
async def test_a_worker_that_sees_only_some_rows_says_so(
    postgres_server: str, schema: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with set_up(postgres_server, StrangeServer(schema=schema)) as place:
        await everything_works(place)
        assert "row level security" not in caplog.text
        jobs = f'"{schema}".jobs' if schema else "jobs"
        place.sql(
            f"ALTER TABLE {jobs} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {jobs} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY own ON {jobs} USING (queue = 'mine') WITH CHECK (true)",
        )
        async with place.database() as database:
            echo = echo_job(database)
            await drain(database, registry_of(database, echo))

            assert await hidden_tables(database) == [f"{schema}.jobs" if schema else "jobs"]
        assert "row level security hides rows of" in caplog.text
