"""Statements that were prepared before somebody changed the tables."""

from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from server_jobs.database.postgres_connection import open_for_sqlalchemy
from server_jobs.database.postgres_url import PostgresUrl
from server_jobs.database.urls import parse_url
from server_jobs.errors import DatabaseError, DataRefusedError
from server_jobs.migrate import migrate
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store
from tests.support.servers.strange import Place, echo_job, params
from tests.support.workers import drain, registry_of

OFTEN = 8
"""psycopg prepares a statement that has run five times."""

CHANGES = {
    "another type": ["ALTER TABLE jobs ALTER COLUMN id TYPE varchar(200)"],
    "another column": [
        "ALTER TABLE jobs ADD COLUMN more text",
        "ALTER TABLE jobs DROP COLUMN more",
    ],
    "another collation": ['ALTER TABLE jobs ALTER COLUMN queue TYPE text COLLATE "C"'],
    "another table": [
        "ALTER TABLE jobs RENAME TO old_jobs",
        "CREATE TABLE jobs (LIKE old_jobs INCLUDING ALL)",
        "INSERT INTO jobs SELECT * FROM old_jobs",
        "DROP TABLE old_jobs",
    ],
}
PREPARED = Statement(text("SELECT count(*) FROM pg_prepared_statements"))
# psycopg doesn't see what a function does.
FORGET = Statement(text("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"))


@pytest.fixture
def place(postgres_url: str) -> Place:
    migrate(postgres_url)
    return Place(postgres_url, f"{postgres_url}&pool_size=1", "postgres", None)


@pytest.mark.parametrize("change", list(CHANGES.values()), ids=list(CHANGES))
async def test_a_process_goes_on_after_a_migration(place: Place, change: list[str]) -> None:
    async with place.database() as database:
        echo = echo_job(database)
        for _ in range(OFTEN):
            await echo.later(params())
            await echo.later_many([params()] * 3)
        await drain(database, registry_of(database, echo))
        place.sql(*change)

        ids = [await echo.later(params()) for _ in range(OFTEN)]
        ids += await echo.later_many([params()] * 3)

        assert (await drain(database, registry_of(database, echo))).completed == len(ids)
        assert len(await Store(database).list_jobs(limit=1_000)) == OFTEN * 5 + 3


async def test_a_session_whose_statements_a_pooler_forgot_goes_on_and_prepares_no_more(
    place: Place,
) -> None:
    async with place.database() as database:
        store = Store(database)
        for _ in range(OFTEN):
            await store.stage()
        ((before,),) = await database.execute(PREPARED)
        await database.execute(FORGET)

        for _ in range(OFTEN):
            await store.stage()

        ((after,),) = await database.execute(PREPARED)
        assert before > 0
        assert after == 0


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_in_the_callers_transaction_the_error_says_to_begin_it_anew(
    place: Place, driver: str
) -> None:
    url = parse_url(place.admin)
    assert isinstance(url, PostgresUrl)
    asynchronous = create_async_engine(
        place.admin.replace("postgresql://", "postgresql+asyncpg://"), pool_size=1
    )
    synchronous = create_engine(
        "postgresql+psycopg://", creator=lambda: open_for_sqlalchemy(url, None)
    )
    async with place.database() as database:
        echo = echo_job(database)

        async def enqueue() -> str:
            if driver == "asyncpg":
                async with asynchronous.begin() as connection:
                    return await echo.later(params(), connection=connection)
            with synchronous.begin() as callers:
                return await echo.later(params(), connection=callers)

        for _ in range(OFTEN):
            await enqueue()
        place.sql(*CHANGES["another type"])

        with pytest.raises(DatabaseError, match=r"Echo: .* run the transaction again"):
            await enqueue()
        again = await enqueue()

        assert (await echo.get(again)).id == again
    synchronous.dispose()
    await asynchronous.dispose()


CALLERS: dict[str, dict[str, Any]] = {
    "LATIN1": {"client_encoding": "LATIN1"},
    "German dates": {"options": "-c DateStyle=German,DMY -c TimeZone=Asia/Kolkata"},
    "backslashes": {"options": "-c standard_conforming_strings=off"},
    "serializable": {"options": "-c default_transaction_isolation=serializable"},
}


@pytest.mark.parametrize("arguments", list(CALLERS.values()), ids=list(CALLERS))
async def test_callers_session_writes_the_row_that_ours_would(
    place: Place, arguments: dict[str, Any]
) -> None:
    engine = create_engine(
        place.admin.replace("postgresql://", "postgresql+psycopg://"), connect_args=arguments
    )
    async with place.database() as database:
        echo = echo_job(database)
        with engine.begin() as connection:
            ids = [
                await echo.later(params(), connection=connection, correlation_id="Zoë"),
                *await echo.later_many([params()] * 3, connection=connection),
            ]
            later = await echo.later(params(), connection=connection, scheduled_for=params().at)
        ours = await echo.get(await echo.later(params(), correlation_id="Zoë"))

        for job_id in ids:
            row = await echo.get(job_id)
            assert (row.params, row.retry_policy) == (ours.params, ours.retry_policy)
            assert abs((row.created_at - ours.created_at).total_seconds()) < 60
            assert row.cron_job_id is None
        assert (await echo.get(ids[0])).correlation_id == "Zoë"
        assert (await echo.get(later)).scheduled_for == params().at
    engine.dispose()


async def test_text_that_the_callers_session_cannot_send_is_refused_with_the_way_out(
    place: Place,
) -> None:
    engine = create_engine(
        place.admin.replace("postgresql://", "postgresql+psycopg://"),
        connect_args={"client_encoding": "LATIN1"},
    )
    async with place.database() as database:
        echo = echo_job(database)
        with engine.begin() as connection, pytest.raises(DataRefusedError, match="client_encoding"):
            await echo.later(params(), connection=connection, correlation_id="€")
    engine.dispose()
