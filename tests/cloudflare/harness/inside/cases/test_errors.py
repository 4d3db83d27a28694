"""What D1 says becomes the error that callers expect of any database."""

from typing import Any

import pytest
from pyodide.code import run_js
from sqlalchemy import text

from server_jobs.errors import (
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    DataRefusedError,
    MigrationRequiredError,
)
from server_jobs.sql.statement import Statement
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
        ("D1_ERROR: D1 DB exceeded its CPU time limit and was reset.", DatabaseUnavailableError),
        ("D1_ERROR: D1 DB exceeded its memory limit and was reset.", DatabaseUnavailableError),
        ("D1_ERROR: Failed to parse body as JSON, got: error code: 1101", DatabaseUnavailableError),
        ("Too many API requests by single Worker invocation.", DatabaseUnavailableError),
        ("D1_ERROR: what nobody has ever heard of", DatabaseUnavailableError),
        ('D1_ERROR: near "SELEKT": syntax error: SQLITE_ERROR', DatabaseError),
    ],
)
async def test_message_is_translated(message: str, expected: type[Exception]) -> None:
    failing: Any = run_js(FAILING)
    database = D1Database(failing(message))

    with pytest.raises(expected) as caught:
        await database.execute(Statement(text("SELECT 1")))

    assert message in str(caught.value)
    # No other kind of it: what was refused was surely not written, what went unanswered may be.
    assert type(caught.value) is expected


REFUSING = """(message) => ({
    prepare: () => ({ bind: () => { throw new Error(message) } }),
})"""
"""A binding that refuses values before it sends them."""


async def test_value_that_cannot_be_bound_is_refused() -> None:
    refusing: Any = run_js(REFUSING)
    database = D1Database(refusing("D1_TYPE_ERROR: Type 'symbol' not supported"))

    with pytest.raises(DataRefusedError, match="D1_TYPE_ERROR"):
        await database.execute(Statement(text("SELECT :n"), {"n": 1}))

    assert database.queries == 0


async def test_statement_that_failed_counts_as_a_query(database: D1Database) -> None:
    with pytest.raises(DatabaseError):
        await database.execute(Statement(text("SELEKT 1")))

    assert database.queries == 1
