"""What mypy knows of a user's jobs. Checked, never run: see test_public_api.py.

``assert_type`` says what must be inferred, ``type: ignore[…]`` what must be refused: mypy is
strict here, and complains of an ignore that isn't needed.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session
from structlog.stdlib import BoundLogger

from server_jobs import (
    Job,
    JobContext,
    JobMetadata,
    JobRecord,
    JobRegistry,
    JobResult,
    JobStatus,
    RetryPolicy,
    connect,
    create_job_context,
    create_job_registry,
    define_job,
    run_sync,
)
from server_jobs.backend import BaseWorkerBackend, WorkerBackend, WorkerBackendConfig
from server_jobs.memory import InMemoryBackend
from server_jobs.worker import LocalWorker


@dataclass
class Order:
    item: str


@dataclass
class Receipt:
    number: int


# ── every form of handler, decorated ─────────────────────────────────────────────────────────


@define_job(name="Buy", max_attempts=5, queue="shop", timeout=timedelta(minutes=2))
async def buy(params: Order, context: JobContext) -> Receipt:
    return Receipt(1)


@define_job()
async def buy_without_context(params: Order) -> Receipt:
    return Receipt(1)


@define_job(timeout=2.5, retry_policy=RetryPolicy.fixed(timedelta(seconds=3)))
def buy_plainly(params: Order, context: JobContext) -> Receipt:
    return Receipt(1)


@define_job()
def buy_plainly_without_context(params: Order) -> Receipt:
    return Receipt(1)


@define_job()
async def notify(params: list[Order]) -> None: ...


@define_job()
def awaitable(params: Order) -> Awaitable[Receipt]:
    return buy_without_context(params)


class Shop:
    async def __call__(self, params: Order, context: JobContext) -> Receipt:
        return Receipt(1)

    def method(self, params: Order) -> Receipt:
        return Receipt(1)


assert_type(buy, Job[Order, Receipt])
assert_type(buy_without_context, Job[Order, Receipt])
assert_type(buy_plainly, Job[Order, Receipt])
assert_type(buy_plainly_without_context, Job[Order, Receipt])
assert_type(notify, Job[list[Order], None])
assert_type(awaitable, Job[Order, Receipt])
assert_type(define_job(name="Shop")(Shop()), Job[Order, Receipt])
assert_type(define_job(name="Shop")(Shop().method), Job[Order, Receipt])


# ── and spelled as in the reference ──────────────────────────────────────────────────────────


async def handler(params: Order, context: JobContext) -> Receipt:
    return Receipt(1)


async def handler_without_context(params: Order) -> Receipt:
    return Receipt(1)


def plain_handler(params: Order, context: JobContext) -> Receipt:
    return Receipt(1)


def plain_handler_without_context(params: Order) -> Receipt:
    return Receipt(1)


async def handler_of_something_else(params: Order) -> str:
    return ""


async def handler_for_something_else(params: int) -> Receipt:
    return Receipt(1)


assert_type(
    define_job(name="A", params_schema=Order, result_schema=Receipt, handler=handler),
    Job[Order, Receipt],
)
assert_type(
    define_job(
        name="B", params_schema=Order, result_schema=Receipt, handler=handler_without_context
    ),
    Job[Order, Receipt],
)
assert_type(
    define_job(name="C", params_schema=Order, result_schema=Receipt, handler=plain_handler),
    Job[Order, Receipt],
)
assert_type(
    define_job(
        name="D", params_schema=Order, result_schema=Receipt, handler=plain_handler_without_context
    ),
    Job[Order, Receipt],
)
assert_type(
    define_job(name="E", params_schema=Order, result_schema=Receipt, handler=Shop()),
    Job[Order, Receipt],
)
define_job(
    name="F",
    params_schema=Order,
    result_schema=Receipt,
    handler=handler_of_something_else,  # type: ignore[arg-type]
)
define_job(
    name="G",
    params_schema=Order,
    result_schema=Receipt,
    handler=handler_for_something_else,  # type: ignore[arg-type]
)
define_job(name="H", params_schema=Order, result_schema=Receipt)  # type: ignore[call-overload]
define_job(name=5)  # type: ignore[call-overload]
define_job()(lambda: None)  # type: ignore[arg-type, misc]


# ── what can be done with a job ──────────────────────────────────────────────────────────────


async def use(connection: Connection, asynchronous: AsyncConnection) -> None:
    result = await buy.now(Order("tea"))
    assert_type(result, JobResult[Receipt])
    assert_type(result.data, Receipt)
    assert_type(result.data.number, int)
    assert_type(result.error, Exception | None)
    assert_type(result.ok, bool)
    assert_type(result.metadata, JobMetadata)
    assert_type(result.metadata.job_id, str | None)
    assert_type(result.metadata.status, JobStatus | None)
    assert_type(result.metadata.started_at, datetime | None)

    assert_type(await buy(Order("tea")), Receipt)
    assert_type(await buy.batch([Order("tea"), {"item": "tea"}]), list[JobResult[Receipt]])
    assert_type(await buy.later({"item": "tea"}, delay=timedelta(minutes=1)), str)
    assert_type(await buy.later_many([Order("tea")], scheduled_for=datetime.now(UTC)), list[str])
    assert_type(await buy.execute_from_database("id", fence=None), JobResult[Receipt])
    assert_type(await buy.get("id"), JobRecord)
    assert_type(await buy.wait("id", timeout=30), JobResult[Receipt])
    assert_type(await buy.cancel("id"), JobStatus)
    assert_type((await notify.now([])).data, None)
    assert_type((await awaitable.now(Order("tea"))).data, Receipt)

    await buy.later(Order("tea"), connection=connection)
    await buy.later(Order("tea"), connection=asynchronous)
    await buy.later_many([Order("tea")], connection=connection)

    await buy.now("tea")  # type: ignore[arg-type]
    await buy.now(Receipt(1))  # type: ignore[arg-type]
    await buy.now(item="tea")  # type: ignore[call-arg]
    await buy.later([Order("tea")])  # type: ignore[arg-type]
    await buy.later(Order("tea"), delay="soon")  # type: ignore[arg-type]
    await buy.later(Order("tea"), unique=True)  # type: ignore[call-arg]
    await buy.batch(Order("tea"))  # type: ignore[arg-type]
    await buy.batch(["tea"])  # type: ignore[list-item]
    await buy.later_many([Order("tea")], unique_key="k")  # type: ignore[call-arg]
    result.data.text  # type: ignore[attr-defined] # noqa: B018
    result.metadata.job_id = "x"  # type: ignore[misc]


def use_synchronously(session: Session, engine: Engine, asynchronous: AsyncSession) -> None:
    assert_type(run_sync(buy.later(Order("tea"), connection=session)), str)
    assert_type(run_sync(buy.now(Order("tea"), persist=False)).data, Receipt)
    run_sync(buy.later(Order("tea"), connection=asynchronous))
    run_sync(buy.later(Order("tea"), connection=engine))  # type: ignore[arg-type]
    run_sync(buy)  # type: ignore[arg-type]


async def use_a_context(context: JobContext) -> None:
    assert_type(context.job_id, str | None)
    assert_type(context.attempt, int)
    assert_type(context.correlation_id, str | None)
    assert_type(context.cancelled, bool)
    await context.update_progress(50)
    await context.update_progress(50.5, "half")
    context.log.info("half", {"rows": 5})
    context.log.info("half", rows=5)
    assert_type(context.log, BoundLogger)
    assert_type(context.log.bind(rows=5), BoundLogger)
    assert_type(create_job_context(attempt=2), JobContext)


async def use_a_registry() -> None:
    registry = create_job_registry().register(buy).register(notify)
    assert_type(registry, JobRegistry)
    assert_type(registry.get_names(), list[str])
    assert_type(registry.has("Buy"), bool)
    assert_type(registry.get("Buy"), Job[Any, Any])
    registry.bind(connect("sqlite://"))
    registry.bind("sqlite://")  # type: ignore[arg-type]
    registry.register(handler)  # type: ignore[arg-type]

    assert_type(registry.schedule(buy, "@daily", params=Order("tea")), JobRegistry)
    registry.schedule(buy, "@daily", params={"item": "tea"}, overlap="queue", catchup="all")
    registry.schedule(buy, "@daily", params=Receipt(1))  # type: ignore[misc]
    registry.schedule(buy, "@daily", params=Order("tea"), overlap="que")  # type: ignore[arg-type]
    registry.schedule(handler, "@daily")  # type: ignore[arg-type]

    backend = InMemoryBackend(job_registry=registry, database={})
    assert_type(backend.add_job(job_name="Buy", params={"item": "tea"}), str)
    polled = await backend.poll_and_claim(limit=1)
    executed = await backend.execute(polled.claimed_jobs[0])
    assert_type(executed.success, bool)
    assert_type(executed.duration, float)
    assert_type(executed.error, str | None)

    # All that executes jobs is a backend, for what runs any of them.
    base = BaseWorkerBackend(database=connect(), job_registry=registry)
    local = LocalWorker(database=connect(), job_registry=registry)
    backends: list[WorkerBackend] = [backend, base, local]
    assert_type(backends[0].config, WorkerBackendConfig)
