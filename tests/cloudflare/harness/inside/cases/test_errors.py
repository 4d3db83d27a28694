"""What D1 says becomes the error that callers expect of any database."""

from typing import Any

import pytest
from pyodide.code import run_js
from sqlalchemy import text

from server_jobs.database import Statement
from server_jobs.errors import (
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    DataRefusedError,
    MigrationRequiredError,
)
from server_jobs_cloudflare.d1 import D1Database

FAILING = "(message) => ({ prepare: () => ({ all: async () => { throw new Error(message) } }) })"
"""A binding whose statements fail with a message: D1's own, where it can't be brought to fail."""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("D1_ERROR: Network connection lost.", DatabaseUnavailableError),
        (
            "D1_ERROR: D1 DB storage operation exceeded timeout which caused object to be reset.",
            DatabaseUnavailableError,
        ),
        ("D1_ERROR: D1 DB is overloaded. Requests queued for too long.", DatabaseUnavailableError),
        ("D1_ERROR: D1 DB is overloaded. Too many requests queued.", DatabaseUnavailableError),
        (
            "D1_ERROR: Internal error while starting up D1 DB storage caused object to be reset.",
            DatabaseUnavailableError,
        ),
        ("D1_ERROR: D1 DB reset because its code was updated.", DatabaseUnavailableError),
        ("D1_ERROR: internal error", DatabaseUnavailableError),
        ("D1_ERROR: string or blob too big: SQLITE_TOOBIG", DataRefusedError),
        ("D1_ERROR: UNIQUE constraint failed: jobs.id: SQLITE_CONSTRAINT", ConstraintViolatedError),
        ("D1_ERROR: no such table: jobs: SQLITE_ERROR", MigrationRequiredError),
        ("D1_ERROR: D1 DB exceeded its CPU time limit and was reset.", DatabaseError),
        ('D1_ERROR: near "SELEKT": syntax error: SQLITE_ERROR', DatabaseError),
    ],
)
async def test_message_is_translated(message: str, expected: type[Exception]) -> None:
    failing: Any = run_js(FAILING)
    database = D1Database(failing(message))

    with pytest.raises(DatabaseError if expected is DatabaseError else expected) as caught:
        await database.execute(Statement(text("SELECT 1")))

    assert message in str(caught.value)
    assert isinstance(caught.value, expected)


async def test_statement_that_failed_counts_as_a_query(database: D1Database) -> None:
    with pytest.raises(DatabaseError):
        await database.execute(Statement(text("SELEKT 1")))

    assert database.queries == 1
