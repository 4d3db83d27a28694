"""The database's own record of every row that becomes completed, and how often."""

from sqlalchemy import text

from server_jobs.database import Database
from server_jobs.sql.statement import Statement
from tests.support.databases.raw_sql import run


async def record_endings(database: Database) -> None:
    """Let the database itself write down every row that becomes completed."""
    await run(database, "CREATE TABLE endings (id text NOT NULL)")
    when = "WHEN (NEW.status = 'completed')"
    insert = "INSERT INTO endings VALUES (NEW.id)"
    if database.dialect.name == "sqlite":
        await run(
            database,
            f"CREATE TRIGGER ending AFTER UPDATE ON jobs {when} BEGIN {insert}; END",
        )
    else:
        await run(
            database,
            "CREATE FUNCTION ending() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {insert}; RETURN NULL; END $$",
        )
        await run(
            database,
            f"CREATE TRIGGER ending AFTER UPDATE ON jobs FOR EACH ROW {when}"
            " EXECUTE FUNCTION ending()",
        )


async def recorded_endings(database: Database) -> list[str]:
    """The id of each completion, once for each."""
    rows = await database.execute(Statement(text("SELECT id FROM endings")))
    return [job_id for (job_id,) in rows]
