"""A database on which somebody else acts between two statements of ours."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.engine import Dialect

from server_jobs.database import Capabilities, Database, Row, Statement
from server_jobs.schema import Tables

Interruption = Callable[[], Awaitable[object]]


class InterruptedDatabase:
    """Passes everything on, but lets somebody else act first, once, before a chosen statement.

    This is how a test that runs one thing at a time settles a race between a look and the write
    that is built on it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements_left = 0
        self._interruption: Interruption | None = None

    @contextmanager
    def interrupted_by(
        self, interruption: Interruption, *, after_statements: int
    ) -> Iterator[None]:
        """Within, let it act after that many statements; it is an error if they never come."""
        self._interruption, self._statements_left = interruption, after_statements
        try:
            yield
            assert self._interruption is None, "too few statements ran for the interruption"
        finally:
            self._interruption = None

    @property
    def tables(self) -> Tables:
        return self._database.tables

    @property
    def dialect(self) -> Dialect:
        return self._database.dialect

    @property
    def capabilities(self) -> Capabilities:
        return self._database.capabilities

    async def execute(self, statement: Statement) -> list[Row]:
        await self._maybe_interrupt()
        return await self._database.execute(statement)

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        await self._maybe_interrupt()
        return await self._database.batch(statements)

    async def wait_for_change(self, timeout: float) -> None:
        await self._database.wait_for_change(timeout)

    async def close(self) -> None:
        await self._database.close()

    async def _maybe_interrupt(self) -> None:
        if self._interruption is None:
            return
        if self._statements_left > 0:
            self._statements_left -= 1
            return
        interruption, self._interruption = self._interruption, None
        await interruption()
