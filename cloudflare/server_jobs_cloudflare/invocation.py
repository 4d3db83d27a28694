"""The database of the current invocation, for jobs that are bound once.

An isolate serves several invocations at once. None may use what another one has opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from server_jobs.database import Database
from server_jobs.errors import DatabaseNotConfiguredError
from server_jobs_cloudflare.pass_through import PassingDatabase

_current: ContextVar[Database] = ContextVar("server_jobs_cloudflare.database")


@contextmanager
def serving_with(database: Database) -> Iterator[None]:
    """Make this the invocation's database, within the block and in tasks that begin there."""
    token = _current.set(database)
    try:
        yield
    finally:
        _current.reset(token)


class InvocationDatabase(PassingDatabase):
    """Passes every call on to the database of the invocation in which it is made."""

    def __repr__(self) -> str:
        return "InvocationDatabase()"

    @property
    def behind(self) -> Database:
        """The database of this invocation. Raises DatabaseNotConfiguredError outside of any."""
        database = _current.get(None)
        if database is None:
            raise DatabaseNotConfiguredError(
                "a Worker's jobs have a database only while it serves a tick or a request:"
                " enqueue in a handler"
            )
        return database

    async def close(self) -> None:
        """Do nothing: the invocation closes its database."""
