"""The platform's limit on queries: what handlers send never costs a settlement."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import literal, select

from server_jobs import JobContext, JobStatus, connect, define_job
from server_jobs.database import Database
from server_jobs.errors import DatabaseError
from server_jobs.sql.statement import Row, Statement
from server_jobs.store.store import Store
from server_jobs_cloudflare.metered import Meter, MeteredDatabase
from tests.support.databases.pass_through import PassingDatabase
from tests.support.edge_worker import Params, backend_of, double, registry_of, statuses, tick
from tests.support.servers.hrana import TOKEN, HranaServer

ONE = Statement(select(literal(1)))


class PlatformsDatabase(PassingDatabase):
    """Refuses everything after so many statements, as the platform does."""

    def __init__(self, database: Database, limit: int) -> None:
        super().__init__(database)
        self.left = limit

    async def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        self.left -= len(statements)
        if self.left < 0:
            raise DatabaseError("Too many API requests by single Worker invocation.")
        return await super()._run(statements)


async def endless(params: Params) -> None:
    await asyncio.Event().wait()


async def through_context(params: Params, context: JobContext) -> None:
    for _ in range(1_000):
        await context.get_database().execute(ONE)


async def through_its_jobs_database(params: Params, context: JobContext) -> None:
    for _ in range(1_000):
        await other.later({})


other = define_job(name="other", queue="elsewhere")(double)


@pytest.mark.parametrize("greedy", [through_context, through_its_jobs_database])
async def test_handler_that_sends_too_much_fails_alone_and_all_is_settled(
    database: Database, greedy: Callable[..., Any]
) -> None:
    registry = registry_of(double, greedy, max_attempts=1).bind(database)
    greedy_id = await registry.get(greedy.__name__).later({})
    await registry.get("double").later_many([{}] * 3)
    platforms = PlatformsDatabase(database, 60)
    backend = backend_of(platforms, registry.register(other), max_queries=40)
    registry.bind(backend.handler_database)

    done = await backend.tick()

    assert platforms.left >= 0
    assert (done.failed, done.completed, done.unsettled) == (1, 3, 0)
    job = await Store(database).get(greedy_id)
    assert job.status is JobStatus.FAILED
    assert "handlers may send no more queries in this tick" in (job.error or "")


async def test_handlers_that_go_on_are_interrupted_before_the_limit_is_met(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server_jobs_cloudflare.backend.BEAT_SECONDS", 0.01)
    registry = registry_of(endless).bind(database)
    await registry.get("endless").later({})

    done = await tick(PlatformsDatabase(database, 40), registry, max_queries=20)

    assert (done.ended, done.released, done.unsettled) == ("queries", 1, 0)
    assert (await statuses(database)) == {JobStatus.PENDING: 1}


@pytest.fixture
def server() -> Iterator[HranaServer]:
    with HranaServer() as server:
        yield server


@pytest.fixture
async def libsql(server: HranaServer, tmp_path: Path) -> AsyncIterator[Database]:
    database = connect(f"{server.serve(tmp_path / 'served.db')}?authToken={TOKEN}")
    yield database
    await database.close()


async def test_requests_that_are_sent_again_count(server: HranaServer, libsql: Database) -> None:
    server.faults.extend([(429, ""), (429, "")])
    meter = Meter(libsql)

    await MeteredDatabase(meter).execute(ONE)

    assert meter.queries == server.requests == 3
    with pytest.raises(DatabaseError, match="has sent 3"):
        await MeteredDatabase(meter, ceiling=3).execute(ONE)
    assert server.requests == 3
