"""The kinds of database that the conformance suite runs on.

To put another driver under the whole suite, write its factory and add it to ``KINDS``.
"""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.schema import CreateIndex, CreateTable

from server_jobs.database import Database, connect
from server_jobs.sql.rules import complete_tables
from server_jobs.sql.statement import Statement
from server_jobs.sql.tables import SCHEMA_VERSION


class Place:
    """An empty database with our tables, as many times opened as a test wants."""

    def __init__(self, connect: Callable[[], Database]) -> None:
        self._connect = connect
        self._opened: list[Database] = []

    def open(self) -> Database:
        """A new ``Database`` object, with connections and threads of its own."""
        database = self._connect()
        self._opened.append(database)
        return database

    async def close(self) -> None:
        for database in self._opened:
            await database.close()


@dataclass(frozen=True)
class Kind:
    """A kind of database, and how a test gets an empty one."""

    name: str
    make_place: Callable[[pytest.FixtureRequest], Place]
    created_by_driver: bool = False
    """The tables come from the driver itself, object by object, not from a migration."""
    shared: bool = True
    """What one ``Database`` object commits, another one sees."""
    forks: bool = True
    """It holds connections of the operating system that a fork would duplicate."""


def _sqlite_file(request: pytest.FixtureRequest) -> Place:
    # Migrated once a session and copied: a copy costs a hundredth of a migration.
    template: Path = request.getfixturevalue("migrated_sqlite_file")
    folder: Path = request.getfixturevalue("tmp_path")
    path = folder / "conformance.db"
    shutil.copyfile(template, path)
    # Only a power cut could tell the difference, and it costs a third of the suite's time.
    return Place(lambda: connect(f"sqlite:///{path}?synchronous=off"))


def _sqlite_memory(request: pytest.FixtureRequest) -> Place:
    return Place(lambda: connect("sqlite://"))


def _postgres(request: pytest.FixtureRequest) -> Place:
    import psycopg

    # Migrated once a session and emptied: a database of its own costs a test 60 ms.
    url: str = request.getfixturevalue("migrated_postgres_url")
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM jobs")
        connection.execute("DELETE FROM cron_jobs")
    return Place(lambda: connect(url))


def _hrana(request: pytest.FixtureRequest) -> Place:
    from tests.support.servers.hrana import TOKEN, HranaServer

    template: Path = request.getfixturevalue("migrated_sqlite_file")
    server: HranaServer = request.getfixturevalue("hrana_server")
    folder: Path = request.getfixturevalue("tmp_path")
    path = folder / "served.db"
    shutil.copyfile(template, path)
    url = server.serve(path)
    return Place(lambda: connect(f"{url}?authToken={TOKEN}"))


def _tursodb(request: pytest.FixtureRequest) -> Place:
    from tests.support.servers.tursodb import Tursodb

    template: Path = request.getfixturevalue("migrated_sqlite_file")
    folder: Path = request.getfixturevalue("tmp_path")
    path = folder / "served.db"
    shutil.copyfile(template, path)
    server = Tursodb(path)
    request.addfinalizer(server.end)
    return Place(server.connect)


def _d1(request: pytest.FixtureRequest) -> Place:
    from tests.cloudflare.harness.inside.d1_kind import make_place

    return make_place(request)


KINDS = [
    Kind("sqlite-file", _sqlite_file),
    Kind("sqlite-memory", _sqlite_memory, created_by_driver=True, shared=False, forks=False),
    Kind("postgres", _postgres),
    Kind("hrana", _hrana),
]

if "TURSODB" in os.environ:  # which names the program: tests/cloudflare/test_tursodb.py
    KINDS = [Kind("tursodb", _tursodb, forks=False)]

if sys.platform == "emscripten":  # inside Pyodide, where D1 is all that can be reached
    KINDS = [Kind("d1", _d1, forks=False)]


async def create_tables(database: Database) -> None:
    """Make the tables through the driver, where no migration can reach them."""
    tables = complete_tables(database.tables.schema, database.tables.prefix)
    for table in tables.metadata.sorted_tables:
        await database.execute(Statement(CreateTable(table)))
        for index in table.indexes:
            await database.execute(Statement(CreateIndex(index)))
    version = {"version": SCHEMA_VERSION, "oldest_code": SCHEMA_VERSION}
    await database.execute(Statement(tables.info.insert().values(**version)))


each_shared_kind = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.shared], ids=lambda kind: kind.name
)
"""For a test that looks at the same rows through two ``Database`` objects."""

each_forking_kind = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.forks], ids=lambda kind: kind.name
)
"""For a test that forks."""
