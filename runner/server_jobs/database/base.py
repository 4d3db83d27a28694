"""What every database driver offers, and what it is given to run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.engine import URL, Dialect

from server_jobs.sql.statement import Row, Statement
from server_jobs.sql.tables import Tables


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a database can do, and how much it takes at once."""

    notifies: bool = False
    """A change wakes ``wait_for_change`` at once; otherwise it polls."""
    serves_remote_workers: bool = True
    """Workers on other machines can reach it (a SQLite file can't serve a cluster)."""
    max_statement_bytes: int = 64 * 1024 * 1024
    """Bytes of one statement, its parameters included."""
    max_payload_bytes: int = 1024 * 1024
    """Bytes of one job's params, and of its result, as JSON."""
    max_integer: int = 2**63 - 1
    """The largest integer that it keeps exactly."""


def shown_url(url: URL) -> str:
    """A URL for people to see: without passwords and tokens, which are parameters, too."""
    secret = [name for name in url.query if re.search("password|token", name, re.IGNORECASE)]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


class Database(Protocol):
    """A database that holds the tables, reached through a thin driver.

    Drivers may be used from any event loop and any thread. They raise
    :class:`~server_jobs.errors.DatabaseUnavailableError` where the connection is at fault (the
    statement may then have run, or not), :class:`~server_jobs.errors.DataRefusedError` where the
    values are, and :class:`~server_jobs.errors.DatabaseError` where anything else is.
    """

    @property
    def tables(self) -> Tables:
        """The tables' names, as statements must spell them."""

    @property
    def dialect(self) -> Dialect:
        """The SQLAlchemy dialect of its SQL."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    async def execute(self, statement: Statement) -> list[Row]:
        """Run one statement and commit it."""

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements in order, all or none. The answer has one list of rows for each."""

    async def wait_for_change(self, timeout: float) -> None:
        """Return once something may have changed, or after ``timeout`` seconds.

        A change that fell between two calls ends the second one at once. One waiter at a time.
        """

    async def close(self) -> None:
        """Let go of connections and threads. The next use opens them again."""
