"""The exported class: its name, its methods, its settings, and what it refuses to be built of."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from server_jobs import JobStatus, PodRuntime, connect, create_job_registry, define_job
from server_jobs.database import Database
from server_jobs.errors import ConfigurationError, DatabaseNotConfiguredError
from server_jobs.sql.statement import Row, Statement
from server_jobs.store.store import Store
from server_jobs_cloudflare import EdgeConfig, create_cron_handler
from tests.support.databases.pass_through import PassingDatabase
from tests.support.edge_worker import (
    Params,
    PlatformLimit,
    double,
    environment,
    lines,
    new_database,
    registry_of,
    sql,
    statuses,
)
from tests.support.scene import new_job


async def work(params: Params) -> None:
    pass


def test_class_is_called_default_and_has_two_public_methods() -> None:
    handler = create_cron_handler(database="DB", job_registry=registry_of(double))

    assert (handler.__name__, handler.__qualname__) == ("Default", "Default")
    assert {n for n in vars(handler) if not n.startswith("_")} == {"scheduled", "fetch"}


async def test_scheduled_takes_the_environment_from_itself(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = registry_of(double)
    handler = create_cron_handler(database=lambda env: connect(env.URL), job_registry=registry)
    database = connect(url)
    registry.bind(database)
    await registry.get("double").later({"number": 1})
    await database.close()

    await handler(None, environment(URL=url)).scheduled(object(), None, None)

    (tick,) = lines(capsys.readouterr().out, "tick")
    assert tick["completed"] == 1


async def test_worker_without_database_says_what_to_bind() -> None:
    handler = create_cron_handler(database="JOBS", job_registry=registry_of(double))

    with pytest.raises(ConfigurationError, match=r"bind a D1 database as 'JOBS'.*TURSO_DATABASE"):
        await handler(None, environment()).scheduled(object())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"runtime": PodRuntime(memory="1Gi")}, "work asks for a pod with runtime="),
        ({"timeout": 60}, "work may take 60 s .*longer than a tick's 50 s"),
        ({"runs_on": "kubernetes"}, "work is declared with runs_on='kubernetes'"),
        ({"runs_on": "local"}, "work is declared with runs_on='local'"),
    ],
)
def test_job_that_the_edge_cannot_execute_is_refused(options: dict[str, Any], reason: str) -> None:
    registry = create_job_registry().register(define_job(**options)(work))

    with pytest.raises(ConfigurationError, match=reason):
        create_cron_handler(job_registry=registry)


def test_job_of_the_edge_is_taken() -> None:
    registry = create_job_registry().register(define_job(runs_on="edge", timeout=50)(work))

    assert create_cron_handler(job_registry=registry)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_concurrency": 0}, "concurrency=0"),
        ({"max_concurrency": 101}, "six connections"),
        ({"lease_seconds": 53}, "longer than the wall budget"),
        ({"lock_timeout_ms": 40_000}, "longer than the wall budget"),
        ({"lock_timeout_ms": 1, "lease_seconds": 400}, "give one"),
        ({"wall_budget_seconds": 841, "lease_seconds": 900}, "after 15 minutes"),
        ({"wall_budget_seconds": 300}, "longer than the wall budget"),
        ({"max_queries_per_tick": 901}, "the platform allows 1000"),
        ({"queues": "edge"}, "queues"),
        ({"api_jobs": ["dubble"]}, "did you mean 'double'"),
    ],
)
def test_wrong_option_is_refused_when_the_class_is_made(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        create_cron_handler(job_registry=registry_of(double), **options)


def test_environment_goes_before_the_code() -> None:
    env = environment(
        SERVER_JOBS_QUEUES="edge, mail",
        SERVER_JOBS_MAX_CONCURRENCY="2",
        SERVER_JOBS_PRUNE_SCHEDULES="on",
        SERVER_JOBS_LEASE_SECONDS="",
    )

    config = EdgeConfig(lease=120).in_environment(env)

    assert (config.queues, config.concurrency) == (("edge", "mail"), 2)
    assert (config.prune_schedules, config.lease) == (True, 120)


async def test_unknown_job_name_in_the_environment_is_refused(url: str) -> None:
    handler = create_cron_handler(
        database=lambda env: connect(url), job_registry=registry_of(double)
    )
    env = environment(SERVER_JOBS_API_JOBS="double, dubble")

    with pytest.raises(ConfigurationError, match=r"SERVER_JOBS_API_JOBS.*'dubble'.*'double'"):
        await handler(None, env).scheduled(None)


def test_variable_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"SERVER_JOBS_MAX_CONCURRENCY='many'.*number"):
        EdgeConfig().in_environment(environment(SERVER_JOBS_MAX_CONCURRENCY="many"))


async def test_schedules_that_could_not_be_written_are_written_by_a_later_tick(
    url: str, database: Database
) -> None:
    await sql(
        database,
        "CREATE TRIGGER refusal BEFORE INSERT ON cron_jobs"
        " BEGIN SELECT RAISE(ABORT, 'not now'); END",
    )
    registry = registry_of(double)
    registry.schedule(registry.get("double"), "0 9 * * *")
    handler = create_cron_handler(database=lambda env: connect(url), job_registry=registry)
    await handler(None, environment()).scheduled(None)
    assert await sql(database, "SELECT name FROM cron_jobs") == []
    await sql(database, "DROP TRIGGER refusal")

    await handler(None, environment()).scheduled(None)

    assert await sql(database, "SELECT name FROM cron_jobs") == [("double",)]


async def test_invocations_at_once_enqueue_each_into_their_own_database(tmp_path: Path) -> None:
    both = asyncio.Barrier(2)

    async def first(params: Params) -> None:
        await both.wait()
        await registry.get("second").later({"number": params.number})

    async def second(params: Params) -> None:
        numbers.append(params.number)

    numbers: list[int] = []
    registry = registry_of(first, second)
    handler = create_cron_handler(database=lambda env: connect(env.URL), job_registry=registry)
    urls = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        urls.append(new_database(tmp_path / str(number)))
        store = Store(connect(urls[-1]))
        await store.enqueue([new_job("first", f'{{"number": {number}}}', queue="edge")])
        await store.database.close()

    async with asyncio.timeout(20):
        ticks = (handler(None, environment(URL=url)).scheduled(None) for url in urls)
        await asyncio.gather(*ticks)

    assert sorted(numbers) == [0, 1]
    for url in urls:
        database = connect(url)
        assert await statuses(database) == {JobStatus.COMPLETED: 2}
        await database.close()


async def test_job_without_an_invocation_says_when_it_has_a_database() -> None:
    registry = registry_of(double)
    create_cron_handler(job_registry=registry)

    with pytest.raises(DatabaseNotConfiguredError, match="while it serves a tick or a request"):
        await registry.get("double").later({})


@pytest.mark.parametrize("error", [RuntimeError("a bug"), PlatformLimit()])
async def test_database_is_closed_after_an_error_and_not_by_a_dying_invocation(
    url: str, error: BaseException
) -> None:
    class Watched(PassingDatabase):
        closed = 0

        async def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
            raise error

        async def close(self) -> None:
            self.closed += 1
            await super().close()

    watched = Watched(connect(url))
    handler = create_cron_handler(database=lambda env: watched, job_registry=registry_of(double))

    with pytest.raises(type(error)):
        await handler(None, environment()).scheduled(None)

    assert watched.closed == (1 if isinstance(error, Exception) else 0)
