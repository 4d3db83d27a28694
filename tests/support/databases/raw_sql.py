"""SQL that only tests have: triggers, and rows by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text

from server_jobs.database import Database
from server_jobs.sql.statement import Statement


async def refuse(database: Database, condition: str) -> None:
    """Let the database itself refuse rows that become so."""
    await _refuse(database, "UPDATE", condition)


@asynccontextmanager
async def refusing_new(database: Database, condition: str) -> AsyncIterator[None]:
    """Let the database itself refuse rows that are inserted so, for a while."""
    await _refuse(database, "INSERT", condition)
    try:
        yield
    finally:
        if database.dialect.name == "sqlite":
            await run(database, "DROP TRIGGER refusal")
        else:
            await run(database, "DROP FUNCTION refusal CASCADE")


async def _refuse(database: Database, event: str, condition: str) -> None:
    if database.dialect.name == "sqlite":
        await run(
            database,
            f"CREATE TRIGGER refusal BEFORE {event} ON jobs WHEN {condition}"
            " BEGIN SELECT RAISE(ABORT, 'refused by the test'); END",
        )
    else:
        await run(
            database,
            "CREATE FUNCTION refusal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE check_violation USING MESSAGE = 'refused by the test'; END $$",
        )
        await run(
            database,
            f"CREATE TRIGGER refusal BEFORE {event} ON jobs FOR EACH ROW WHEN ({condition})"
            " EXECUTE FUNCTION refusal()",
        )


async def break_down(database: Database, condition: str) -> None:
    """Let updates to such rows fail for a reason that isn't theirs, until ``mend``."""
    if database.dialect.name == "sqlite":
        # A function that doesn't exist would be missed by every update, the condition aside.
        await run(
            database,
            f"CREATE TRIGGER breakdown BEFORE UPDATE ON jobs WHEN {condition}"
            " BEGIN SELECT abs(-9223372036854775807 - 1); END",
        )
    else:
        await run(
            database,
            "CREATE FUNCTION breakdown() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " PERFORM no_such_function(); RETURN NEW; END $$",
        )
        await run(
            database,
            f"CREATE TRIGGER breakdown BEFORE UPDATE ON jobs FOR EACH ROW WHEN ({condition})"
            " EXECUTE FUNCTION breakdown()",
        )


async def mend(database: Database) -> None:
    """End the breakdown."""
    where = "" if database.dialect.name == "sqlite" else " ON jobs"
    await run(database, f"DROP TRIGGER breakdown{where}")


async def run(database: Database, sql: str) -> None:
    await database.execute(Statement(text(sql)))
