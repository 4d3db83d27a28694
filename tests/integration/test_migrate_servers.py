"""Migrating on servers as others have set them up, and several processes at once."""

import subprocess
import sys
from typing import LiteralString

import psycopg
import pytest

from server_jobs.errors import DatabaseError, DatabaseUnavailableError
from server_jobs.migrate import migrate
from server_jobs.sql.tables import tables
from tests.support.databases.old_tables import make_tables_at

_MIGRATE = "import sys; from server_jobs.migrate import migrate; print(len(migrate(sys.argv[1])))"
PROCESSES = 5


@pytest.mark.parametrize("step", [None, "0001", "0002", "0003"])
def test_publication_for_all_tables_lets_tables_of_each_step_be_migrated(
    postgres_url: str, step: str | None
) -> None:
    if step is not None:
        make_tables_at(step, postgres_url, tables())
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        if step is not None:  # as releases before this one left it
            connection.execute("ALTER TABLE server_jobs_schema REPLICA IDENTITY DEFAULT")
        connection.execute("CREATE PUBLICATION everything FOR ALL TABLES")

    assert migrate(postgres_url)
    assert migrate(postgres_url) == []


@pytest.mark.parametrize(
    ("setup", "says"),
    [
        (
            "CREATE PUBLICATION versions FOR TABLE server_jobs_schema (version)",
            "sends only some columns of this table",
        ),
        (
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'not on Fridays' USING ERRCODE = '55000'; END $$;"
            " CREATE EVENT TRIGGER refusing ON ddl_command_start EXECUTE FUNCTION refuse()",
            "not on Fridays",
        ),
    ],
    ids=["publication of a column", "event trigger"],
)
def test_server_that_refuses_a_step_is_not_one_that_is_away(
    postgres_url: str, setup: LiteralString, says: str
) -> None:
    make_tables_at("0003", postgres_url, tables())
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(setup)

    with pytest.raises(DatabaseError, match=says) as raised:
        migrate(postgres_url)
    assert not isinstance(raised.value, DatabaseUnavailableError), "`--wait` would wait for ever"


@pytest.mark.parametrize(
    "isolation", ["read committed", "repeatable read", "serializable"], ids=lambda name: name
)
def test_several_that_migrate_at_once_all_succeed(postgres_url: str, isolation: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(
            f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'".encode()
        )

    running = [
        subprocess.Popen(
            [sys.executable, "-c", _MIGRATE, postgres_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    ended = [process.communicate(timeout=100) for process in running]

    assert [process.returncode for process in running] == [0] * PROCESSES, ended
    assert sorted(int(out) for out, _ in ended)[:-1] == [0] * (PROCESSES - 1)
