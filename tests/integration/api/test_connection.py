"""``connection=``: jobs enqueued in the caller's own SQLAlchemy transaction."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pytest
from pydantic import BaseModel
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from server_jobs import Job, JobStatus, RetryPolicy, connect, define_job, run_sync
from server_jobs.database import Database
from server_jobs.errors import InvalidOptionError, InvalidParamsError
from server_jobs.migrate import migrate
from server_jobs.store.store import Store

AnyConnection: TypeAlias = Connection | Session | AsyncConnection | AsyncSession
"""What ``connection=`` takes."""

SYNC_DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}
ASYNC_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


class Order(BaseModel):
    item: str


@pytest.fixture
def ship(database: Database) -> Job[Order, None]:
    @define_job(name="Ship", queue="shop", priority=2, retry_policy=RetryPolicy.fixed(9))
    async def ship(params: Order) -> None: ...

    ship.set_database(database)
    return ship


@pytest.fixture
def engine(migrated_url: str) -> Iterator[Engine]:
    url = make_url(migrated_url)
    engine = create_engine(
        url.set(drivername=SYNC_DRIVERS[url.get_backend_name()]), poolclass=NullPool
    )
    yield engine
    engine.dispose()


@pytest.fixture
async def async_engine(migrated_url: str) -> AsyncIterator[AsyncEngine]:
    url = make_url(migrated_url)
    engine = create_async_engine(
        url.set(drivername=ASYNC_DRIVERS[url.get_backend_name()]), poolclass=NullPool
    )
    yield engine
    await engine.dispose()


class Transaction:
    """A caller's transaction of some kind, ended by hand."""

    def __init__(self, connection: Any) -> None:
        self.connection: AnyConnection = connection
        self._end = connection

    async def execute(self, sql: str) -> list[Any]:
        result = self._end.execute(text(sql))
        if isinstance(result, Awaitable):
            result = await result
        return list(result.all())

    async def commit(self) -> None:
        await _done(self._end.commit())

    async def rollback(self) -> None:
        await _done(self._end.rollback())


async def _done(answer: Any) -> None:
    if answer is not None:
        await answer


@pytest.fixture(params=["Connection", "Session", "AsyncConnection", "AsyncSession"])
async def transaction(
    request: pytest.FixtureRequest, engine: Engine, async_engine: AsyncEngine
) -> AsyncIterator[Transaction]:
    match request.param:
        case "Connection":
            with engine.connect() as connection:
                yield Transaction(connection)
        case "Session":
            with Session(engine) as session:
                yield Transaction(session)
        case "AsyncConnection":
            async with async_engine.connect() as async_connection:
                yield Transaction(async_connection)
        case _:
            async with AsyncSession(async_engine) as async_session:
                yield Transaction(async_session)


async def ids(store: Store) -> set[str]:
    return {row.id for row in await store.list_jobs(limit=10_000)}


async def test_job_is_seen_after_the_commit_and_not_before(
    ship: Job[Order, None], transaction: Transaction, store: Store
) -> None:
    job_id = await ship.later({"item": "tea"}, connection=transaction.connection)

    assert await ids(store) == set()
    await transaction.commit()
    assert await ids(store) == {job_id}
    assert (await ship.execute_from_database(job_id)).ok


async def test_job_is_gone_after_a_rollback(
    ship: Job[Order, None], transaction: Transaction, store: Store
) -> None:
    await ship.later({"item": "tea"}, connection=transaction.connection)
    await transaction.rollback()

    assert await ids(store) == set()


async def test_row_is_the_same_as_without_a_transaction(
    ship: Job[Order, None], transaction: Transaction
) -> None:
    moment = datetime(2035, 6, 1, 12, 30, 0, 123_456, tzinfo=UTC)
    options: dict[str, Any] = {
        "scheduled_for": moment,
        "correlation_id": "Ä",
        "max_attempts": 9,
        "priority": -1,
    }
    inside = await ship.later({"item": "té"}, connection=transaction.connection, **options)
    await transaction.commit()
    outside = await ship.later({"item": "té"}, **options)

    one, other = await ship.get(inside), await ship.get(outside)
    for name in one.__dataclass_fields__:
        if name not in {"id", "created_at", "updated_at"}:
            assert getattr(one, name) == getattr(other, name), name
    assert one.scheduled_for == moment
    assert abs((one.created_at - other.created_at).total_seconds()) < 10


async def test_delay_counts_from_now(ship: Job[Order, None], transaction: Transaction) -> None:
    job_id = await ship.later({"item": "tea"}, delay=60, connection=transaction.connection)
    await transaction.commit()

    row = await ship.get(job_id)
    assert 50 < (row.scheduled_for - datetime.now(UTC)).total_seconds() <= 60
    assert (row.status, row.ready) == (JobStatus.PENDING, False)


async def test_unique_key_holds_within_the_transaction(
    ship: Job[Order, None], transaction: Transaction, store: Store
) -> None:
    committed = await ship.later({"item": "tea"}, unique_key="old")
    connection = transaction.connection

    assert await ship.later({"item": "x"}, unique_key="old", connection=connection) == committed
    first = await ship.later({"item": "tea"}, unique_key="new", connection=connection)
    again = await ship.later({"item": "tea"}, unique_key="new", connection=connection)
    await transaction.commit()

    assert first == again
    assert await ids(store) == {committed, first}


async def test_many_jobs_share_the_transaction(
    ship: Job[Order, None], transaction: Transaction, store: Store
) -> None:
    orders = [{"item": f"n{number}"} for number in range(1_200)]
    many = await ship.later_many(orders, connection=transaction.connection)

    assert await ids(store) == set()
    await transaction.commit()
    assert await ids(store) == set(many)
    assert json.loads((await ship.get(many[1_100])).params) == {"item": "n1100"}


async def test_wrong_params_leave_the_transaction_usable(
    ship: Job[Order, None], transaction: Transaction, store: Store
) -> None:
    connection = transaction.connection
    fine = await ship.later({"item": "tea"}, connection=connection)
    with pytest.raises(InvalidParamsError):
        await ship.later({"item": 5}, connection=connection)
    with pytest.raises(InvalidParamsError):
        await ship.later_many([{"item": "tea"}, {"item": "a\0"}], connection=connection)
    await transaction.commit()

    assert await ids(store) == {fine}


async def test_callers_own_writes_and_the_job_are_one(
    ship: Job[Order, None], transaction: Transaction, store: Store, engine: Engine
) -> None:
    with engine.begin() as setup:
        setup.execute(text("DROP TABLE IF EXISTS orders"))
        setup.execute(text("CREATE TABLE orders (item text)"))
    await transaction.execute("INSERT INTO orders VALUES ('tea') RETURNING item")
    job_id = await ship.later({"item": "tea"}, connection=transaction.connection)
    await transaction.commit()

    await transaction.execute("DELETE FROM orders RETURNING item")
    await ship.later({"item": "tea"}, connection=transaction.connection)
    await transaction.rollback()

    assert await transaction.execute("SELECT item FROM orders") == [("tea",)]
    await transaction.rollback()
    assert await ids(store) == {job_id}


async def test_savepoint_takes_its_jobs_with_it(
    ship: Job[Order, None], engine: Engine, store: Store
) -> None:
    with Session(engine) as session:
        # pysqlite begins a transaction at the first write only: before it, no savepoint holds.
        kept = await ship.later({"item": "tea"}, connection=session)
        savepoint = session.begin_nested()
        await ship.later({"item": "coffee"}, connection=session)
        savepoint.rollback()
        session.commit()

    assert await ids(store) == {kept}


async def test_listening_worker_is_woken_by_the_commit(
    ship: Job[Order, None], database: Database, engine: Engine
) -> None:
    await database.wait_for_change(0.01)
    waiting = asyncio.create_task(database.wait_for_change(10))
    await asyncio.sleep(0.1)
    with engine.begin() as connection:
        await ship.later({"item": "tea"}, connection=connection)

    await asyncio.wait_for(waiting, 5)


def test_synchronous_code_enqueues_in_its_session(migrated_url: str, engine: Engine) -> None:
    @define_job(name="Ship")
    async def ship(params: Order) -> None: ...

    database = connect(migrated_url)
    ship.set_database(database)
    try:
        with Session(engine) as session:
            job_id = run_sync(ship.later({"item": "tea"}, connection=session))
            session.commit()
            lost = run_sync(ship.later({"item": "tea"}, connection=session))
            session.rollback()
        rows = run_sync(Store(database).list_jobs())
    finally:
        run_sync(database.close())

    assert [row.id for row in rows] == [job_id]
    assert lost != job_id


async def test_first_use_beside_a_transaction_that_writes(sqlite_url: str) -> None:
    """A file in SQLite's older mode can't be changed to WAL meanwhile, and must serve as it is."""
    migrate(sqlite_url)
    engine = create_engine(sqlite_url, poolclass=NullPool)
    database = connect(sqlite_url)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode = delete")).scalar() == "delete"
        connection.execute(text("INSERT INTO jobs (id, job_name) VALUES ('x', 'Ship')"))
        try:
            assert await ids(Store(database)) == set()
            connection.commit()
            assert await ids(Store(database)) == {"x"}
        finally:
            await database.close()
    engine.dispose()


async def test_transaction_of_another_kind_of_database_is_refused(
    ship: Job[Order, None], database: Database, store: Store
) -> None:
    foreign = "postgresql+psycopg://" if database.dialect.name == "sqlite" else "sqlite://"
    wrong = Session(create_engine(foreign))

    with pytest.raises(InvalidOptionError, match=r"Ship: connection= speaks .*can't span both"):
        await ship.later({"item": "tea"}, connection=wrong)
    with pytest.raises(InvalidOptionError, match="can't span both"):
        await ship.later_many([{"item": "tea"}], connection=wrong)
    assert await ids(store) == set()


@pytest.mark.parametrize("what", ["text", "engine", "async engine", "driver's connection"])
async def test_what_is_no_transaction_is_refused(
    ship: Job[Order, None], engine: Engine, async_engine: AsyncEngine, store: Store, what: str
) -> None:
    with engine.connect() as connection:
        wrong: Any = {
            "text": "sqlite://",
            "engine": engine,
            "async engine": async_engine,
            "driver's connection": connection.connection.driver_connection,
        }[what]
        with pytest.raises(InvalidOptionError, match=r"Ship: connection=.*isn't a SQLAlchemy C"):
            await ship.later({"item": "tea"}, connection=wrong)

    assert await ids(store) == set()
