"""Databases with hostile rows in them, of each kind, with today's tables or an older release's."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

import psycopg

from server_jobs.migrate import migrate
from server_jobs.sql.tables import tables
from tests.hostile.rows import HostileRow, good_rows
from tests.hostile.values import POSTGRES, SQLITE
from tests.support.databases.old_tables import make_tables_at, read_sql
from tests.support.servers.hrana import TOKEN, HranaServer
from tests.support.servers.postgres import temporary_database

OLD_STEP = "0003"
"""The last step whose tables took nearly everything."""


class Place:
    """One database. ``copied`` makes another one of it, with the same rows."""

    dialect = SQLITE

    def __init__(self, url: str, query_url: str) -> None:
        self.url = url
        self._query_url = query_url

    def read(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database itself, without any of our code."""
        return read_sql(self._query_url, query)


class Kind(Protocol):
    """A kind of database, opened for the time of a run."""

    dialect: str

    def filled(self, rows: Sequence[HostileRow]) -> tuple[Any, list[HostileRow]]:
        """Make a database with these rows → it, and the rows that the schema refused."""

    def copied(self, filled: Any) -> Any:
        """Make a context of a ``Place`` with the same rows."""


class SqliteKind:
    """A SQLite file. ``server`` serves copies of it over Hrana."""

    dialect = SQLITE

    def __init__(self, *, old: bool, server: HranaServer | None = None) -> None:
        self._folder = Path(mkdtemp(prefix="hostile-"))
        self._template = self._folder / "template.db"
        self._server = server
        self.is_served = server is not None
        self._count = 0
        url = f"sqlite:///{self._template}"
        if old:
            make_tables_at(OLD_STEP, url, tables())
            _note_step(self._template)
        else:
            migrate(url)

    def close(self) -> None:
        shutil.rmtree(self._folder)

    def _new(self, source: Path) -> Path:
        self._count += 1
        path = self._folder / f"{self._count}.db"
        shutil.copyfile(source, path)
        return path

    def filled(self, rows: Sequence[HostileRow]) -> tuple[Path, list[HostileRow]]:
        path = self._new(self._template)
        refused = []
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            for statement in good_rows(SQLITE):
                connection.execute(statement)
            for row in rows:
                try:
                    connection.execute(row.insert(SQLITE))
                except sqlite3.Error:
                    refused.append(row)
            connection.execute("COMMIT")
        return path, refused

    @contextmanager
    def copied(self, filled: Path) -> Iterator[Place]:
        path = self._new(filled)
        url = f"sqlite:///{path}"
        reached = f"{url}?synchronous=off"
        if self._server is not None:
            reached = f"{self._server.serve(path)}?authToken={TOKEN}"
        yield Place(reached, url)
        for one in path.parent.glob(f"{path.name}*"):
            one.unlink()


def _note_step(path: Path) -> None:
    """Offline SQL has Alembic's own table already; nothing is to be done but to see that."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM server_jobs_version").fetchall() == [(OLD_STEP,)]


class PostgresPlace(Place):
    dialect = POSTGRES


class PostgresKind:
    """Databases on one server."""

    dialect = POSTGRES

    def __init__(self, server_url: str, *, old: bool) -> None:
        self._server_url = server_url
        self._template = temporary_database(server_url)
        url = self._template.__enter__()
        if old:
            make_tables_at(OLD_STEP, url, tables())
        else:
            migrate(url)
        self._template_name = _name_of(url)
        self._filled: Any = None

    def close(self) -> None:
        self._forget()
        self._template.__exit__(None, None, None)

    def _forget(self) -> None:
        if self._filled is not None:
            self._filled.__exit__(None, None, None)
            self._filled = None

    def filled(self, rows: Sequence[HostileRow]) -> tuple[str, list[HostileRow]]:
        self._forget()
        self._filled = temporary_database(self._server_url, template=self._template_name)
        url = self._filled.__enter__()
        refused = []
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in good_rows(POSTGRES):
                connection.execute(statement.encode())
            for row in rows:
                try:
                    connection.execute(row.insert(POSTGRES).encode())
                except psycopg.Error:
                    refused.append(row)
        return _name_of(url), refused

    @contextmanager
    def copied(self, filled: str) -> Iterator[Place]:
        with temporary_database(self._server_url, template=filled) as url:
            yield PostgresPlace(url, url)


def _name_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
