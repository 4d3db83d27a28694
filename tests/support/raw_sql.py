"""SQL that only tests have: triggers, and rows by hand."""

from sqlalchemy import text

from server_jobs.database import Database, Statement


async def refuse(database: Database, condition: str) -> None:
    """Let the database itself refuse rows that become so."""
    if database.dialect.name == "sqlite":
        await run(
            database,
            f"CREATE TRIGGER refusal BEFORE UPDATE ON jobs WHEN {condition}"
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
            f"CREATE TRIGGER refusal BEFORE UPDATE ON jobs FOR EACH ROW WHEN ({condition})"
            " EXECUTE FUNCTION refusal()",
        )


async def run(database: Database, sql: str) -> None:
    await database.execute(Statement(text(sql)))
