"""A database whose connection breaks where a test says so."""

from collections.abc import Callable, Sequence
from enum import Enum

from server_jobs.database import Database
from server_jobs.errors import DatabaseUnavailableError
from server_jobs.sql.statement import Row, Statement
from tests.support.databases.pass_through import PassingDatabase


class Fault(Enum):
    """Where the connection breaks. The caller sees the same error in both cases."""

    BEFORE = "before the statements ran"
    AFTER = "after they were committed, before the answer came"


Plan = Callable[[Sequence[Statement]], Fault | Exception | None]
"""Asked before every call. An exception is raised as it is, and nothing runs."""


class FaultyDatabase(PassingDatabase):
    """Passes everything on to a real database, and breaks the calls that the plan names."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.plan: Plan = lambda statements: None
        self.faults = 0

    def break_once(self, fault: Fault | Exception, when: Callable[[Statement], bool]) -> None:
        """Break the next call that has such a statement, and none after it."""

        def plan(statements: Sequence[Statement]) -> Fault | Exception | None:
            if not any(map(when, statements)):
                return None
            self.plan = lambda statements: None
            return fault

        self.plan = plan

    async def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        fault = self.plan(statements)
        if fault is None:
            return await super()._run(statements)
        self.faults += 1
        if isinstance(fault, Exception):
            raise fault
        if fault is Fault.AFTER:
            await super()._run(statements)
        raise DatabaseUnavailableError(f"the test broke the connection {fault.value}")


def claims(statement: Statement) -> bool:
    """Whether the statement claims jobs of a queue."""
    return {"queue", "worker_id", "lease_seconds"} <= statement.values.keys()


def settles(statement: Statement) -> bool:
    """Whether the statement writes how jobs ended."""
    return "settled" in statement.values


def looks_up(statement: Statement) -> bool:
    """Whether the statement asks what became of settlements whose answer was lost."""
    return statement.values.keys() == {"held"}
