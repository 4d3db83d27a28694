"""The exported class: its name, its methods, its settings, and what it refuses to be built of."""

from typing import Any

import pytest

from server_jobs import PodRuntime, connect, create_job_registry, define_job
from server_jobs.errors import ConfigurationError
from server_jobs_cloudflare import EdgeConfig, create_cron_handler
from tests.support.edge_worker import Params, double, environment, lines, registry_of


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
        ({"lease_seconds": 50}, "longer than the wall budget"),
        ({"lock_timeout_ms": 40_000}, "longer than the wall budget"),
        ({"lock_timeout_ms": 1, "lease_seconds": 400}, "give one"),
        ({"wall_budget_seconds": 120}, "the next tick comes after a minute"),
        ({"max_queries_per_tick": 1_000}, "the platform allows 1000"),
        ({"queues": "edge"}, "queues"),
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


def test_variable_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"SERVER_JOBS_MAX_CONCURRENCY='many'.*number"):
        EdgeConfig().in_environment(environment(SERVER_JOBS_MAX_CONCURRENCY="many"))
