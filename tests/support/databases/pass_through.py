"""A database that passes everything on to a real one, for tests that step in between."""

from collections.abc import Sequence

from sqlalchemy.engine import Dialect

from server_jobs.database import Capabilities, Database
from server_jobs.sql.statement import Row, Statement
from server_jobs.sql.tables import Tables


class PassingDatabase:
    """Passes everything on. Those who step in override ``_run``."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
        (rows,) = await self._run([statement])
        return rows

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        return await self._run(statements)

    async def wait_for_change(self, timeout: float) -> None:
        await self._database.wait_for_change(timeout)

    async def close(self) -> None:
        await self._database.close()

    async def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        # As the store does: one statement alone is no transaction.
        if len(statements) == 1:
            return [await self._database.execute(statements[0])]
        return await self._database.batch(statements)
