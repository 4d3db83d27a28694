"""Defines what every database driver offers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.engine import URL, Dialect

from server_jobs.errors import DatabaseUnavailableError
from server_jobs.sql.statement import Row, Statement
from server_jobs.sql.tables import Tables


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Says what a database can do, and how much it accepts at once."""

    notifies: bool = False
    """Whether a change wakes ``wait_for_change`` at once; otherwise it polls."""
    announces: bool = True
    """Whether programs that enqueue send the notification that wakes listening workers."""
    serves_remote_workers: bool = True
    """Whether workers on other machines can reach it. A SQLite file can't serve a cluster."""
    max_statement_bytes: int = 64 * 1024 * 1024
    """The largest statement in bytes, its parameters included."""
    max_payload_bytes: int = 1024 * 1024
    """The largest params of one job, and the largest result, in bytes of JSON."""
    max_integer: int = 2**63 - 1
    """The largest integer that it stores exactly."""


def shown_url(url: URL) -> str:
    """Write a URL for people to see: without its password, and without tokens in its options."""
    secret = [name for name in url.query if re.search("password|token", name, re.IGNORECASE)]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


class NothingRanError(DatabaseUnavailableError):
    """The statements can't have run, so they may be sent again."""


class Database(Protocol):
    """Reaches a database that holds the tables.

    A driver may be used from any event loop and any thread. Its methods raise
    :class:`~server_jobs.errors.DatabaseUnavailableError` if the connection failed (the statement
    may have run, or not), :class:`~server_jobs.errors.DataRefusedError` if the database refuses the
    values, :class:`~server_jobs.errors.MigrationRequiredError` if tables or columns are missing,
    and :class:`~server_jobs.errors.DatabaseError` for every other refusal.
    """

    @property
    def tables(self) -> Tables:
        """The tables of this installation, whose names statements must use."""

    @property
    def dialect(self) -> Dialect:
        """The SQLAlchemy dialect of its SQL."""

    @property
    def capabilities(self) -> Capabilities:
        """What the database can do, and how much it accepts."""

    async def execute(self, statement: Statement) -> list[Row]:
        """Run one statement and commit it → its rows."""

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements in order in one transaction, all or none → a list of rows for each."""

    async def wait_for_change(self, timeout: float) -> None:
        """Return once something may have changed, or after ``timeout`` seconds.

        Any number of tasks may wait, and a change wakes each. A change between two calls of one
        task ends the second at once.
        """

    async def close(self) -> None:
        """Close connections and end threads. The next use opens them again."""
