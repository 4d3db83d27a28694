"""Jobs that are enqueued in a transaction which is prepared before it is committed."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from server_jobs import JobStatus, connect
from server_jobs.database import Database
from server_jobs.migrate import migrate
from server_jobs.store.store import Store
from tests.support.servers.postgres import SETTINGS, running_server, temporary_database
from tests.support.servers.strange import echo_job, params
from tests.support.workers import drain, registry_of


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server that takes PREPARE TRANSACTION, which isn't its default."""
    with running_server({**SETTINGS, "max_prepared_transactions": "5"}) as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    with temporary_database(server) as url:
        migrate(url)
        yield url


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = connect(url)
    yield database
    await database.close()


@contextmanager
def connection_of(url: str) -> Iterator[Connection]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


async def works_off(database: Database, *ids: str) -> bool:
    echo = echo_job(database)
    await drain(database, registry_of(database, echo))
    return {(await echo.get(job_id)).status for job_id in ids} == {JobStatus.COMPLETED}


@pytest.mark.parametrize("kind", ["connection", "savepoint", "session", "session of a connection"])
async def test_a_two_phase_transaction_is_prepared_and_committed(url: str, kind: str) -> None:
    async with opened(url) as database:
        echo = echo_job(database)
        with connection_of(url) as connection, ExitStack() as stack:
            transaction: Any
            target: Any = connection
            if kind == "session":
                target = stack.enter_context(Session(connection.engine, twophase=True))
                transaction = target.begin()
            else:
                transaction = connection.begin_twophase()
            if kind == "session of a connection":
                target = stack.enter_context(Session(connection))
            if kind == "savepoint":
                stack.enter_context(connection.begin_nested())
            ids = [await echo.later(params(), connection=target)]
            ids += await echo.later_many([params()] * 3, connection=target)
            if kind == "savepoint":
                stack.close()
            transaction.prepare()
            assert await Store(database).list_jobs() == []
            transaction.commit()

        assert await works_off(database, *ids)


async def test_an_asynchronous_two_phase_session_is_prepared_and_committed(url: str) -> None:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    async with opened(url) as database:
        async with AsyncSession(engine, twophase=True) as session:
            job_id = await echo_job(database).later(params(), connection=session)
            await session.commit()

        assert await works_off(database, job_id)
    await engine.dispose()


async def test_a_transaction_that_is_prepared_by_hand_needs_the_urls_option(url: str) -> None:
    with connection_of(url) as connection:
        async with opened(url) as database:
            await echo_job(database).later(params(), connection=connection)
            with pytest.raises(DBAPIError, match="NOTIFY"):
                connection.execute(text("PREPARE TRANSACTION 'announced'"))
            connection.rollback()
        async with opened(f"{url}&notify=false") as database:
            job_id = await echo_job(database).later(params(), connection=connection)
            connection.execute(text("PREPARE TRANSACTION 'quiet'"))
            connection.rollback()
            assert await Store(database).list_jobs() == []
            with psycopg.connect(url, autocommit=True) as other:
                other.execute("COMMIT PREPARED 'quiet'")

            assert await works_off(database, job_id)


async def test_without_notify_nobody_hears_of_a_job(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute("LISTEN server_jobs")
        async with opened(f"{url}&notify=false") as database:
            await echo_job(database).later(params())
            await echo_job(database).later(params(), unique_key="one")
        assert list(listener.notifies(timeout=0.2)) == []
        async with opened(url) as database:
            await echo_job(database).later(params())
        assert len(list(listener.notifies(timeout=5, stop_after=1))) == 1
