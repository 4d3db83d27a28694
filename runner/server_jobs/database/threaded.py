"""Defines a database whose blocking driver runs on threads that own its connections."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from sqlalchemy.engine import Dialect

from server_jobs.database.base import Capabilities
from server_jobs.database.compiled import StatementCompiler
from server_jobs.database.threads import C, ConnectionThreads
from server_jobs.sql.statement import Row, Statement
from server_jobs.sql.tables import Tables


class ThreadedDatabase(ConnectionThreads[C]):
    """Base of the blocking drivers, which add how to connect and how to run statements."""

    def __init__(
        self, *, dialect: Dialect, tables: Tables, capabilities: Capabilities, threads: int
    ) -> None:
        super().__init__(threads, dialect.name)
        self.dialect = dialect
        self.tables = tables
        self.capabilities = capabilities
        self._compiler = StatementCompiler(dialect)

    async def execute(self, statement: Statement) -> list[Row]:
        return await self._on_thread(lambda connection: self._run(connection, [statement])[0])

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        if not statements:
            return []
        return await self._on_thread(lambda connection: self._run(connection, statements))

    @abstractmethod
    def _run(self, connection: C, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements on a connection, all or none → a list of rows for each.

        A single statement is its own transaction.
        """
