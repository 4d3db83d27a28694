"""One count of what an invocation sends, and views of the database that stop at a part of it.

The platform lets an invocation send so many queries; then all fail, settlements included. So what
handlers send is refused a little earlier, and their backend can still write how they ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from server_jobs.database import Database
from server_jobs.errors import DatabaseError
from server_jobs.sql.statement import Row, Statement
from server_jobs_cloudflare.pass_through import PassingDatabase


class Meter:
    """How many queries have gone to a database in this invocation.

    A driver that counts for itself knows best: of D1 each statement counts, of libSQL each
    request, those that were sent again included. For others, statements are counted here.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._under_way = 0
        self._passed = 0

    @property
    def queries(self) -> int:
        """Those that were sent."""
        queries: int = getattr(self.database, "queries", self._passed)
        return queries

    @contextmanager
    def counting(self, statements: int, ceiling: int | None) -> Iterator[None]:
        """Within, so many are sent. Raises DatabaseError where that would be above the ceiling."""
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
    """The meter's database; with a ceiling, it refuses what would be counted above it."""

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
