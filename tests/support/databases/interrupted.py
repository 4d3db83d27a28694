"""A database on which somebody else acts between two statements of ours."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from server_jobs.database import Database
from server_jobs.sql.statement import Row, Statement
from tests.support.databases.pass_through import PassingDatabase

Interruption = Callable[[], Awaitable[object]]


class InterruptedDatabase(PassingDatabase):
    """Passes everything on, but lets somebody else act first, once, before a chosen statement.

    This is how a test that runs one thing at a time settles a race between a look and the write
    that is built on it.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
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

    async def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        await self._maybe_interrupt()
        return await super()._run(statements)

    async def _maybe_interrupt(self) -> None:
        if self._interruption is None:
            return
        if self._statements_left > 0:
            self._statements_left -= 1
            return
        interruption, self._interruption = self._interruption, None
        await interruption()
