"""The database of whichever invocation is being served, for jobs that are bound once.

An isolate serves several invocations at once, and what one of them has opened, no other may use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from sqlalchemy.engine import Dialect

from server_jobs.database import Capabilities, Database, Row, Statement
from server_jobs.errors import DatabaseNotConfiguredError
from server_jobs.schema import Tables

_current: ContextVar[Database] = ContextVar("server_jobs_cloudflare.database")


@contextmanager
def serving_with(database: Database) -> Iterator[None]:
    """Within, and in tasks that are begun there, this is the invocation's database."""
    token = _current.set(database)
    try:
        yield
    finally:
        _current.reset(token)


class InvocationDatabase:
    """Passes all on to the database of the invocation that it is used in."""

    def __repr__(self) -> str:
        return "InvocationDatabase()"

    @property
    def tables(self) -> Tables:
        return _database().tables

    @property
    def dialect(self) -> Dialect:
        return _database().dialect

    @property
    def capabilities(self) -> Capabilities:
        return _database().capabilities

    async def execute(self, statement: Statement) -> list[Row]:
        return await _database().execute(statement)

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        return await _database().batch(statements)

    async def wait_for_change(self, timeout: float) -> None:
        await _database().wait_for_change(timeout)

    async def close(self) -> None:
        """Nothing: who opened the invocation's database closes it."""


def _database() -> Database:
    database = _current.get(None)
    if database is None:
        raise DatabaseNotConfiguredError(
            "a Worker's jobs have a database while it serves a tick or a request, and none before"
            " or after that: enqueue in a handler"
        )
    return database
