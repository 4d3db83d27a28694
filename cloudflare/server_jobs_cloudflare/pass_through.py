"""A database that passes everything on to another one, for those who step in between."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from sqlalchemy.engine import Dialect

from server_jobs.database import Capabilities, Database
from server_jobs.sql.statement import Row, Statement
from server_jobs.sql.tables import Tables


class PassingDatabase(ABC):
    """Whatever it is asked, :attr:`behind` answers."""

    @property
    @abstractmethod
    def behind(self) -> Database:
        """The database that is meant just now."""

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
