"""The base class of databases that pass their calls on to another one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from sqlalchemy.engine import Dialect

from server_jobs.database import Capabilities, Database
from server_jobs.sql.statement import Row, Statement
from server_jobs.sql.tables import Tables


class PassingDatabase(ABC):
    """Passes every call on to the database :attr:`behind` it."""

    @property
    @abstractmethod
    def behind(self) -> Database:
        """The database that answers the next call."""

    @property
    def tables(self) -> Tables:
        return self.behind.tables

    @property
    def dialect(self) -> Dialect:
        return self.behind.dialect

    @property
    def capabilities(self) -> Capabilities:
        return self.behind.capabilities

    async def execute(self, statement: Statement) -> list[Row]:
        return await self.behind.execute(statement)

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        return await self.behind.batch(statements)

    async def wait_for_change(self, timeout: float) -> None:
        await self.behind.wait_for_change(timeout)

    async def close(self) -> None:
        await self.behind.close()
