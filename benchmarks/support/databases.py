"""Makes throw-away databases with this release's tables, as durable as in production."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from uuid import uuid4

import psycopg

from server_jobs.migrate import migrate
from tests.support.servers.postgres import running_server, temporary_database

Kind = Literal["sqlite", "postgresql"]

SETTINGS = {
    "sqlite": "SQLite: a file in WAL mode, synchronous=FULL (a commit survives a power cut)",
    "postgresql": "PostgreSQL: its defaults, fsync and synchronous_commit on (likewise); reached"
    " by a socket",
}


class BenchDatabase(ABC):
    """Offers an empty database, and what a measurement does to it from outside."""

    title: str
    kind: Kind
    json_cast = ""

    def __init__(self, url: str) -> None:
        self.url = url
        migrate(url)

    @abstractmethod
    def run(self, sql: str) -> list[tuple[object, ...]]:
        """Run a statement and commit it."""

    @abstractmethod
    def settle(self) -> None:
        """Do at once what the database would do in the background sooner or later."""

    @abstractmethod
    def clear(self) -> None:
        """Remove every job."""

    @abstractmethod
    def moment(self, seconds: str) -> str:
        """Write SQL for the moment so many whole seconds from now."""

    @abstractmethod
    def hexadecimal(self, number: str) -> str:
        """Write SQL for a number as twelve hexadecimal digits."""

    @abstractmethod
    def series(self, start: int, end: int) -> str:
        """Write SQL for a table whose only column, ``n``, counts from ``start`` to ``end``."""

    def count(self, condition: str = "true") -> int:
        """Count the jobs that fulfil a condition."""
        found = self.run(f"SELECT count(*) FROM jobs WHERE {condition}")[0][0]
        assert isinstance(found, int)
        return found


class SqliteBench(BenchDatabase):
    """Uses a SQLite file."""

    title = "SQLite"
    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(f"sqlite:///{path}")

    def run(self, sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            return connection.execute(sql).fetchall()

    def settle(self) -> None:
        self.run("PRAGMA wal_checkpoint(TRUNCATE)")

    def clear(self) -> None:
        self.run("DELETE FROM jobs")
        self.settle()

    def moment(self, seconds: str) -> str:
        return f"strftime('%Y-%m-%d %H:%M:%S.000000', 'now', ({seconds}) || ' seconds')"

    def hexadecimal(self, number: str) -> str:
        return f"printf('%012x', {number})"

    def series(self, start: int, end: int) -> str:
        numbers = f"SELECT {start} UNION ALL SELECT n + 1 FROM series WHERE n < {end}"
        return f"(WITH RECURSIVE series(n) AS ({numbers}) SELECT n FROM series)"


class PostgresBench(BenchDatabase):
    """Uses a database of a PostgreSQL server."""

    title = "PostgreSQL"
    kind = "postgresql"
    json_cast = "::jsonb"

    def run(self, sql: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def settle(self) -> None:
        self.run("VACUUM ANALYZE jobs")
        self.run("CHECKPOINT")

    def clear(self) -> None:
        self.run("TRUNCATE jobs")

    def moment(self, seconds: str) -> str:
        return f"date_trunc('second', now()) + ({seconds}) * interval '1 second'"

    def hexadecimal(self, number: str) -> str:
        return f"lpad(to_hex({number}), 12, '0')"

    def series(self, start: int, end: int) -> str:
        return f"generate_series({start}, {end}) AS n"


class Databases:
    """Makes empty databases in one folder and, if there is one, on one server."""

    def __init__(self, folder: Path, server_url: str | None) -> None:
        self.folder = folder
        self.server_url = server_url

    def title(self, kind: Kind) -> str:
        """Return the name of this kind of database, for people."""
        return SqliteBench.title if kind == "sqlite" else PostgresBench.title

    @contextmanager
    def empty(self, kind: Kind) -> Iterator[BenchDatabase]:
        """Make a database without jobs, which is removed afterwards."""
        if kind == "sqlite":
            path = self.folder / f"{uuid4().hex}.db"
            try:
                yield SqliteBench(path)
            finally:
                for file in self.folder.glob(f"{path.name}*"):
                    file.unlink()
        else:
            assert self.server_url is not None
            with temporary_database(self.server_url) as url:
                yield PostgresBench(url)


@contextmanager
def throw_away(folder: Path, *, postgres: bool) -> Iterator[Databases]:
    """Make databases under ``folder``, with their own PostgreSQL server if it is wanted."""
    with TemporaryDirectory(prefix="sj-bench-", dir=folder) as home:
        if postgres:
            # No settings are given, since the defaults are durable.
            with running_server(settings={}, parent=folder) as url:
                yield Databases(Path(home), url)
        else:
            yield Databases(Path(home), None)
