"""A database on which something happens between a scheduler's look and its firing."""

from collections.abc import Awaitable, Callable, Sequence

from server_jobs.database import Database
from server_jobs.sql.statement import Row, Statement
from tests.support.databases.pass_through import PassingDatabase


class MeanwhileDatabase(PassingDatabase):
    """Passes everything on; before it passes on a batch that fires, it awaits what is set."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        """Happens once."""

    async def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        if self.meanwhile is not None and any(map(fires, statements)):
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return await super()._run(statements)


def fires(statement: Statement) -> bool:
    """Whether the statement fires schedules, or cancels the jobs that they replace."""
    return "fires" in statement.values


def makes_jobs(statement: Statement) -> bool:
    """Whether the statement makes the jobs of fire times that were taken, in the same batch."""
    return "fire_times" in statement.values
