"""Counting what is sent to a database: the platform ends an invocation that sends too much."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Dialect

from server_jobs.database import Capabilities, Database, Row, Statement
from server_jobs.schema import Tables


class MeteredDatabase:
    """A database whose statements are counted, a batch's one by one, as D1 counts them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.queries = 0

    def __repr__(self) -> str:
        return repr(self._database)

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
        self.queries += 1
        return await self._database.execute(statement)

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        self.queries += len(statements)
        return await self._database.batch(statements)

    async def wait_for_change(self, timeout: float) -> None:
        await self._database.wait_for_change(timeout)

    async def close(self) -> None:
        await self._database.close()
