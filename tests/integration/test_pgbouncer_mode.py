"""What ``?pgbouncer=true`` promises: nothing outlives a transaction."""

import pytest
from sqlalchemy import text

from server_jobs import connect
from server_jobs.migrate import migrate
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store

PREPARED = Statement(text("SELECT count(*) FROM pg_prepared_statements"))


@pytest.mark.parametrize(("mode", "prepares"), [("true", False), ("false", True)])
async def test_statements_are_prepared_only_without_pgbouncer(
    postgres_url: str, mode: str, prepares: bool
) -> None:
    migrate(postgres_url)
    separator = "&" if "?" in postgres_url else "?"
    database = connect(f"{postgres_url}{separator}pool_size=1&pgbouncer={mode}")
    store = Store(database)

    for _ in range(20):
        await store.stage()
    ((prepared,),) = await database.execute(PREPARED)

    assert (prepared > 0) == prepares
    assert database.capabilities.notifies != (mode == "true")
    await database.close()
