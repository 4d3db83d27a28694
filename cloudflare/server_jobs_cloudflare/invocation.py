"""The database of whichever invocation is being served, for jobs that are bound once.

An isolate serves several invocations at once, and what one of them has opened, no other may use.
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
    """Within, and in tasks that are begun there, this is the invocation's database."""
    token = _current.set(database)
    try:
        yield
    finally:
        _current.reset(token)


class InvocationDatabase(PassingDatabase):
    """Passes all on to the database of the invocation that it is used in."""

    def __repr__(self) -> str:
        return "InvocationDatabase()"

    @property
    def behind(self) -> Database:
        """Raises DatabaseNotConfiguredError where nothing is being served."""
        database = _current.get(None)
        if database is None:
            raise DatabaseNotConfiguredError(
                "a Worker's jobs have a database while it serves a tick or a request, and none"
                " before or after that: enqueue in a handler"
            )
        return database

    async def close(self) -> None:
        """Nothing: who opened the invocation's database closes it."""
