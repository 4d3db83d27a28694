"""What goes through a row and a worker, on both databases, and what can't stop the worker."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from sqlalchemy import update

from server_jobs import Job, JobContext, JobStatus, RetryPolicy, define_job
from server_jobs.database import Database
from server_jobs.definition.codec import mask_secrets
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store
from tests.support.payloads import Everything, everything
from tests.support.workers import drain, registry_of


@define_job(name="Echo")
async def echo(params: Everything) -> Everything:
    return params


# One database serves all examples: each of them is a batch of jobs of its own.
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(values=st.lists(everything, min_size=1, max_size=8))
async def test_params_and_results_come_through_as_they_were(
    database: Database, values: list[Everything]
) -> None:
    registry = registry_of(database, echo)
    ids = await echo.later_many(values)
    await drain(database, registry)

    assert [(await echo.wait(job_id)).data for job_id in ids] == values


class Login(BaseModel):
    user: str
    password: SecretStr


async def test_secrets_reach_the_handler_and_are_marked_in_the_row(database: Database) -> None:
    @define_job(name="LogIn")
    async def log_in(params: Login) -> Login:
        assert params.password.get_secret_value() == "hunter2"
        return params

    registry = registry_of(database, log_in)
    job_id = await log_in.later({"user": "ada", "password": "hunter2"})
    await drain(database, registry)

    row = await log_in.get(job_id)
    for document in (json.loads(row.params), json.loads(row.result or "null")):
        assert document == {"user": "ada", "password": {"$secret": "hunter2"}}
        assert mask_secrets(document) == {"user": "ada", "password": "**********"}
    assert (await log_in.wait(job_id)).data.password.get_secret_value() == "hunter2"


async def test_secrets_are_in_no_error_of_a_row_that_no_longer_fits(database: Database) -> None:
    @define_job(name="LogIn", max_attempts=1)
    async def log_in(params: Login) -> None:
        raise AssertionError("begun")

    registry = registry_of(database, log_in)
    job_id = await log_in.later({"user": "ada", "password": "hunter2"})
    jobs = database.tables.jobs
    spoilt = '{"user": 1, "password": {"$secret": "hunter2"}}'
    await database.execute(Statement(update(jobs).values(params=spoilt)))
    await drain(database, registry)

    row = await log_in.get(job_id)
    assert row.status is JobStatus.FAILED
    assert "user: " in (row.error or "")
    assert "hunter2" not in (row.error or "") + row.errors


# ── what a worker must survive ───────────────────────────────────────────────────────────────


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


HOSTILE: dict[str, Any] = {  # raised if it is an exception, else returned
    "broken text": Unspeakable(),
    "cancels itself": asyncio.CancelledError(),
    "NUL and surrogates": ValueError("\0\ud800\udc80" * 100),
    "a megabyte": ValueError("ü" * 1_000_000),
    "group": ExceptionGroup("g", [Unspeakable(), ValueError("\0")]),
    "stop iteration": StopIteration(),
    "result with NUL": "a\0b",
    "result with surrogate": "a\udc80",
    "result too large": "x" * 1_100_000,
    "result that is no JSON": object(),
    "result that is NaN": float("nan"),
}


def policy_that_raises(attempt: int) -> float:
    raise Unspeakable


def act(name: str, context: JobContext) -> Any:
    context.update_progress(50, "\0\udc80")
    what = HOSTILE.get(name, "well")
    if isinstance(what, BaseException):
        raise what
    return what


async def act_asynchronously(name: str, context: JobContext) -> Any:
    return act(name, context)


@pytest.mark.parametrize("handler", [act, act_asynchronously])
async def test_no_handler_stops_the_worker_or_its_neighbours(
    database: Database, store: Store, handler: Any
) -> None:
    job: Job[str, Any] = define_job(
        name="Act", max_attempts=1, retry_policy=RetryPolicy.custom(policy_that_raises)
    )(handler)
    registry = registry_of(database, job)
    names = [name for hostile in HOSTILE for name in (hostile, f"beside {hostile}")]
    ids = await job.later_many(names)

    await drain(database, registry, concurrency=5)

    rows = {name: await store.get(job_id) for name, job_id in zip(names, ids, strict=True)}
    assert {name for name, row in rows.items() if row.status is JobStatus.FAILED} == set(HOSTILE)
    assert {row.status for name, row in rows.items() if name not in HOSTILE} == {
        JobStatus.COMPLETED
    }
    assert max(len(row.error or "") for row in rows.values()) == 10_000
    assert max(len(row.errors) for row in rows.values()) < 60_000
