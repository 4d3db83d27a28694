"""Defines a batch of statements in which each statement's rows have a name, not a position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from server_jobs.database.base import Database, NothingRanError
from server_jobs.errors import DatabaseUnavailableError
from server_jobs.sql.statement import Row, Statement


class Answer:
    """Holds the rows of one statement of a batch. It is empty until the batch has run."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)


class Batch:
    """Collects statements that run in order, all or none, in one commit."""

    def __init__(self) -> None:
        self._statements: list[Statement] = []
        self._answers: list[Answer] = []

    def add(self, statement: Statement) -> Answer:
        """Append a statement → the answer that will hold its rows."""
        answer = Answer()
        self._statements.append(statement)
        self._answers.append(answer)
        return answer

    def add_all(self, statements: Iterable[Statement]) -> list[Answer]:
        """Append several statements → the answers that will hold the rows of each."""
        return [self.add(statement) for statement in statements]

    async def run(self, database: Database) -> None:
        """Run the statements and fill in their answers. An empty batch doesn't ask the database.

        Raises DatabaseError.
        """
        if len(self._statements) == 1:
            answered = [await database.execute(self._statements[0])]
        elif self._statements:
            answered = await database.batch(self._statements)
        else:
            return
        for answer, rows in zip(self._answers, answered, strict=True):
            answer.rows = rows

    async def run_repeatable(self, database: Database) -> None:
        """Run statements that may safely run twice: again once, if the answer was lost.

        Raises DatabaseError.
        """
        try:
            await self.run(database)
        except NothingRanError:
            raise  # the driver has tried for as long as it may
        except DatabaseUnavailableError:
            await self.run(database)
