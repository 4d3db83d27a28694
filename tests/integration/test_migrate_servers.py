"""Migrating on servers as others have set them up, and several processes at once."""

import subprocess
import sys

import psycopg
import pytest

from server_jobs.errors import DatabaseError, DatabaseUnavailableError
from server_jobs.migrate import migrate

_MIGRATE = "import sys; from server_jobs.migrate import migrate; print(len(migrate(sys.argv[1])))"
PROCESSES = 5


def test_publication_that_refuses_a_step_is_not_a_server_that_is_away(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE PUBLICATION everything FOR ALL TABLES")

    with pytest.raises(DatabaseError, match="FOR ALL TABLES") as raised:
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
