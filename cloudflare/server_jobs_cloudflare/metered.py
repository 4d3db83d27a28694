"""Counts the queries of an invocation, and refuses those of handlers beyond a limit.

The platform allows an invocation a number of queries. After that every query fails, also those
that settle jobs. Therefore handlers' queries are refused a little earlier.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from server_jobs.database import Database
from server_jobs.errors import DatabaseError
from server_jobs.sql.statement import Row, Statement
from server_jobs_cloudflare.pass_through import PassingDatabase


class Meter:
    """Counts the queries that an invocation sends to a database.

    The drivers of D1 and libSQL count for themselves, as the platform does: each statement on D1,
    on libSQL each request, also those that are sent again. For other drivers it counts statements.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._under_way = 0
        self._passed = 0

    @property
    def queries(self) -> int:
        """How many queries were sent."""
        queries: int = getattr(self.database, "queries", self._passed)
        return queries

    @contextmanager
    def counting(self, statements: int, ceiling: int | None) -> Iterator[None]:
        """Count the statements that this block sends.

        Raises DatabaseError, before it begins, where the count would be above the ceiling.
        """
        if ceiling is not None and self.queries + self._under_way + statements > ceiling:
            raise DatabaseError(
                f"handlers may send no more queries in this tick: it has sent {self.queries}, and"
                " what is left of the platform's limit settles its jobs. Let a handler send fewer"
                " (later_many() enqueues many with one), or a tick claim fewer"
                " (max_jobs_per_tick=)"
            )
        self._under_way += statements
        try:
            yield
        finally:
            self._under_way -= statements
            self._passed += statements


class MeteredDatabase(PassingDatabase):
    """The meter's database. With a ceiling, it refuses statements that would exceed it."""

    def __init__(self, meter: Meter, ceiling: int | None = None) -> None:
        self._meter = meter
        self._ceiling = ceiling

    def __repr__(self) -> str:
        return repr(self.behind)

    @property
    def behind(self) -> Database:
        return self._meter.database

    async def execute(self, statement: Statement) -> list[Row]:
        with self._meter.counting(1, self._ceiling):
            return await super().execute(statement)

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        with self._meter.counting(len(statements), self._ceiling):
            return await super().batch(statements)
