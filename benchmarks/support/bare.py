"""Defines a bare connection of a driver, which runs the same statements as server-jobs."""

from __future__ import annotations

import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg.raw_cursor import RawCursor
from psycopg.types.string import TextLoader
from sqlalchemy.engine import make_url

from server_jobs.database import connect
from server_jobs.database.compiled import StatementCompiler
from server_jobs.database.sqlite import POLL_SECONDS
from server_jobs.schedules.statements.read import ReadStatements
from server_jobs.store.statements.enqueue import EnqueueStatements
from server_jobs.store.statements.hold import HoldStatements
from server_jobs.store.statements.settle import SettleStatements

Bound: TypeAlias = tuple[str, Sequence[Any]]
"""The text of a statement, and its parameters."""

Rows: TypeAlias = list[tuple[Any, ...]]


class Bare(ABC):
    """One connection. Its statement sets and ``compile`` give the SQL that server-jobs sends."""

    def __init__(self, url: str) -> None:
        # This database is never opened; it only tells how to write statements.
        database = connect(url)
        self.compile = StatementCompiler(database.dialect)
        self.enqueue = EnqueueStatements.of(database)
        self.hold = HoldStatements.of(database)
        self.settle = SettleStatements.of(database)
        self.schedules = ReadStatements.of(database)
        self.channel = database.tables.channel

    @abstractmethod
    def one(self, bound: Bound) -> Rows:
        """Run one statement and commit it."""

    @abstractmethod
    def together(self, bound: Sequence[Bound]) -> list[Rows]:
        """Run several statements in one transaction."""

    @abstractmethod
    def wait_for_change(self, seconds: float) -> None:
        """Return once something may have changed, or after so many seconds."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class BareSqlite(Bare):
    """Uses the standard library's ``sqlite3``."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._connection = sqlite3.connect(
            make_url(url).database or "",
            timeout=30,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        self._connection.execute("PRAGMA journal_mode = wal").fetchall()
        self._connection.execute("PRAGMA synchronous = full")
        self._version: object = None

    def one(self, bound: Bound) -> Rows:
        return self._connection.execute(*bound).fetchall()

    def together(self, bound: Sequence[Bound]) -> list[Rows]:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        answers = [execute(*each).fetchall() for each in bound]
        execute("COMMIT")
        return answers

    def wait_for_change(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version:
                self._version = version
                return
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        self._connection.close()


class BarePostgres(Bare):
    """Uses psycopg, which prepares statements at once and leaves JSON as text."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._url = url
        self._connection = self._connect()
        self._listening: psycopg.Connection[tuple[Any, ...]] | None = None

    def one(self, bound: Bound) -> Rows:
        cursor = self._connection.execute(*bound)
        return cursor.fetchall() if cursor.description else []

    def together(self, bound: Sequence[Bound]) -> list[Rows]:
        connection = self._connection
        with connection.pipeline():
            connection.execute("BEGIN")
            cursors = [connection.execute(*each) for each in bound]
            connection.execute("COMMIT")
        return [cursor.fetchall() if cursor.description else [] for cursor in cursors]

    def wait_for_change(self, seconds: float) -> None:
        if self._listening is None:
            self._listening = self._connect()
            self._listening.execute(f'LISTEN "{self.channel}"')
        list(self._listening.notifies(timeout=seconds, stop_after=1))

    def close(self) -> None:
        self._connection.close()
        if self._listening is not None:
            self._listening.close()

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection = psycopg.connect(
            self._url, autocommit=True, prepare_threshold=0, cursor_factory=RawCursor
        )
        connection.adapters.register_loader("jsonb", TextLoader)
        return connection


@contextmanager
def bare(url: str) -> Iterator[Bare]:
    """Open a bare connection to the database at ``url``."""
    connection = BareSqlite(url) if url.startswith("sqlite") else BarePostgres(url)
    try:
        yield connection
    finally:
        connection.close()
