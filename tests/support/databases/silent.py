"""A database that never answers to what a test says; nothing of that is run."""

import asyncio
from collections.abc import Callable, Sequence

from server_jobs.database import Database
from server_jobs.sql.statement import Row, Statement
from tests.support.databases.pass_through import PassingDatabase


class SilentDatabase(PassingDatabase):
    """Passes everything on to a real database but for calls with such a statement."""

    def __init__(self, database: Database, silent: Callable[[Statement], bool]) -> None:
        super().__init__(database)
        self._silent = silent

    async def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        if any(map(self._silent, statements)):
            await asyncio.Event().wait()
        return await super()._run(statements)
