"""``now`` and ``batch`` with a record: inserted running, kept alive, settled whatever happens."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel
from sqlalchemy import update

from server_jobs import (
    CancelJob,
    InvalidParamsError,
    Job,
    JobCancelledError,
    JobContext,
    JobFailedError,
    JobRecord,
    JobStatus,
    NotStartedError,
    RetryLater,
    connect,
    define_job,
)
from server_jobs.database import Database
from server_jobs.errors import InvalidOptionError, MigrationRequiredError
from server_jobs.execution.lease_keeper import TICK_SECONDS
from server_jobs.sql.statement import Row, Statement
from server_jobs.store.store import Store
from tests.support.databases.faulty import FaultyDatabase

T = TypeVar("T")

SOON = 5.0
"""Seconds within which something must have happened."""


class Number(BaseModel):
    value: int


class Gate:
    """A handler that tells when it has begun, and goes on when it is told."""

    def __init__(self) -> None:
        self.job_id = ""
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, params: Number, context: JobContext) -> Number:
        assert context.job_id is not None
        self.job_id = context.job_id
        self.begun.set()
        await self.go_on.wait()
        return params


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def gated(gate: Gate, database: Database) -> Job[Number, Number]:
    return on(database, define_job(name="Gated")(gate))


def on(database: Database, job: Job[Any, Any]) -> Job[Any, Any]:
    job.set_database(database)
    return job


async def until(look: Callable[[], Awaitable[T]]) -> T:
    """Look until there is something to see."""
    deadline = time.monotonic() + SOON
    while not (seen := await look()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    return seen


async def all_rows(store: Store) -> list[JobRecord]:
    return await store.list_jobs(limit=1_000)


# ── now ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("params", [Number(value=2), {"value": 2}])
async def test_completed_job_leaves_a_completed_row(
    database: Database, store: Store, params: Any
) -> None:
    @define_job(name="Double", queue="numbers", priority=3, timeout=60)
    async def double(params: Number, context: JobContext) -> Number:
        assert context.get_database() is database
        assert (context.attempt, context.correlation_id) == (1, "c")
        return Number(value=2 * params.value)

    result = await on(database, double).now(params, correlation_id="c")

    assert result.data == Number(value=4)
    (row,) = await all_rows(store)
    assert result.metadata.job_id == row.id
    assert (result.metadata.status, result.metadata.attempt) == (JobStatus.COMPLETED, 1)
    assert (row.job_name, row.queue, row.status) == ("Double", "numbers", JobStatus.COMPLETED)
    assert (row.fence, row.attempt_count, row.max_attempts) == (1, 1, 1)
    assert (json.loads(row.params), json.loads(row.result or "")) == ({"value": 2}, {"value": 4})
    assert (row.correlation_id, row.timeout_seconds, row.progress) == ("c", 60, 100)
    assert row.worker_expires_at is None
    assert row.completed_at is not None


async def test_row_is_running_while_its_handler_runs(
    gate: Gate, gated: Job[Number, Number], store: Store
) -> None:
    running = asyncio.create_task(gated.now({"value": 1}))
    await gate.begun.wait()

    row = await store.get(gate.job_id)
    assert (row.status, row.fence, row.attempt_count) == (JobStatus.RUNNING, 1, 1)
    assert row.handler_started_at is not None
    assert row.worker_expires_at is not None
    assert await store.stage() == 0
    assert await store.available(queues=["default"], job_names=["Gated"]) == 0

    gate.go_on.set()
    assert (await running).data == Number(value=1)


async def test_failure_is_recorded_and_raised_and_never_retried(
    database: Database, store: Store
) -> None:
    @define_job(name="Refuse", max_attempts=5)
    async def refuse(params: Number) -> Number:
        raise LookupError(f"no {params.value}")

    with pytest.raises(
        JobFailedError, match=r"^Refuse [-0-9a-f]{36} failed: LookupError: no 2$"
    ) as caught:
        await on(database, refuse).now({"value": 2})

    (row,) = await all_rows(store)
    assert caught.value.job_id == row.id
    assert isinstance(caught.value.__cause__, LookupError)
    assert (row.status, row.attempt_count, row.error) == (JobStatus.FAILED, 1, "no 2")
    assert row.attempt_errors[0].type == "LookupError"


@pytest.mark.parametrize(
    ("signal", "status", "kind", "reason"),
    [
        (RetryLater(60, "closed"), JobStatus.FAILED, JobFailedError, "closed"),
        (CancelJob("withdrawn"), JobStatus.CANCELLED, JobCancelledError, "withdrawn"),
    ],
)
async def test_signals_end_what_runs_only_once(
    database: Database,
    store: Store,
    signal: Exception,
    status: JobStatus,
    kind: type[JobFailedError],
    reason: str,
) -> None:
    @define_job(name="Signal")
    async def send(params: None) -> None:
        raise signal

    with pytest.raises(JobFailedError) as caught:
        await on(database, send).now(None)

    (row,) = await all_rows(store)
    assert (type(caught.value), row.status, row.error) == (kind, status, reason)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"value": "x"}, r"Note: .*\n  value: .*\(got 'x'\)"),
        ({}, "value: Field required"),
        ({"value": 1, "text": "a\0"}, "NUL character in text"),
        ({"value": 1, "text": "x" * 2_000_000}, "more than the limit of 1,048,576"),
    ],
)
async def test_wrong_params_leave_no_row(
    database: Database, store: Store, params: Any, says: str
) -> None:
    class Text(Number):
        text: str = ""

    @define_job(name="Note")
    async def note(params: Text) -> None:
        raise AssertionError("begun")

    job = on(database, note)
    fine = {"value": 1}
    for call in (
        lambda: job.now(params),
        lambda: job.batch([fine, params]),
        lambda: job.later(params),
        lambda: job.later_many([fine, params]),
    ):
        with pytest.raises(InvalidParamsError, match=says):
            await call()

    assert await all_rows(store) == []


@pytest.mark.parametrize("lease", [0, 0.5, -1, float("nan"), 8 * 86_400])
async def test_lease_without_sense_leaves_no_row(
    gated: Job[Number, Number], store: Store, lease: float
) -> None:
    with pytest.raises(InvalidOptionError, match=r"a lease of .* s isn't between"):
        await gated.now({"value": 1}, lease=lease)

    assert await all_rows(store) == []


async def test_missing_tables_say_what_to_run(database_url: str) -> None:
    database = connect(database_url)

    @define_job(name="Note")
    async def note(params: None) -> None:
        raise AssertionError("begun")

    try:
        with pytest.raises(MigrationRequiredError, match="server-jobs migrate"):
            await on(database, note).now(None)
    finally:
        await database.close()


async def test_result_that_cannot_be_kept_fails_the_job(database: Database, store: Store) -> None:
    @define_job(name="Letter")
    async def letter(params: None) -> str:
        return "a\0b"

    with pytest.raises(JobFailedError, match="result hold a NUL character"):
        await on(database, letter).now(None)

    assert (await all_rows(store))[0].status is JobStatus.FAILED


async def test_error_that_no_database_could_store_is_recorded_cleaned(
    database: Database, store: Store
) -> None:
    @define_job(name="Loud")
    async def loud(params: None, context: JobContext) -> None:
        context.update_progress(10, "\0\udc80")
        raise ValueError("\0\udc80" + "x" * 1_000_000)

    with pytest.raises(JobFailedError):
        await on(database, loud).now(None)

    (row,) = await all_rows(store)
    assert row.error is not None
    assert row.error.startswith("\ufffd?xxx")
    assert (len(row.error), row.progress_message) == (10_000, "\ufffd?")
    assert len(row.errors) < 50_000


# ── progress ─────────────────────────────────────────────────────────────────────────────────


async def test_progress_is_seen_while_the_handler_runs(database: Database, store: Store) -> None:
    @define_job(name="Report")
    async def report(params: None, context: JobContext) -> None:
        await context.update_progress(42, "nearly half")
        rows = await until(reported)
        assert (rows[0].progress, rows[0].progress_message) == (42, "nearly half")

    async def reported() -> list[JobRecord]:
        return [row for row in await all_rows(store) if row.progress]

    await on(database, report).now(None)


async def test_progress_of_a_tight_loop_costs_few_statements(
    database: Database, store: Store
) -> None:
    @define_job(name="Loop")
    def loop(params: None, context: JobContext) -> None:
        for step in range(100_000):
            context.update_progress(step / 1_000, f"step {step}")
        time.sleep(0.6)

    statements = 0

    def count(batch: Sequence[Statement]) -> None:
        nonlocal statements
        statements += len(batch)

    counting = FaultyDatabase(database)
    counting.plan = count
    started = time.monotonic()
    await on(counting, loop).now(None)

    # Inserted and completed; and twice a second a report, and a heartbeat or a look.
    assert statements <= 2 + 2 * (2 + (time.monotonic() - started) / TICK_SECONDS)
    (row,) = await all_rows(store)
    assert row.progress_message == "step 99999"


@pytest.mark.parametrize(
    ("percent", "stored"),
    [(-5, 0), (250, 100), (float("nan"), 0), (float("inf"), 100), (33.5, 33.5)],
)
async def test_last_progress_of_a_failed_job_is_kept_and_within_bounds(
    database: Database, store: Store, percent: float, stored: float
) -> None:
    @define_job(name="Report")
    async def report(params: None, context: JobContext) -> None:
        await context.update_progress(1, "begun")
        await context.update_progress(percent)
        raise ValueError

    with pytest.raises(JobFailedError):
        await on(database, report).now(None)

    (row,) = await all_rows(store)
    assert (row.progress, row.progress_message) == (stored, "begun")


async def test_last_message_of_a_completed_job_is_kept(database: Database, store: Store) -> None:
    @define_job(name="Report")
    async def report(params: None, context: JobContext) -> None:
        context.update_progress(10, "first")
        context.update_progress(20, "second")

    await on(database, report).now(None)

    (row,) = await all_rows(store)
    assert (row.progress, row.progress_message) == (100, "second")


class SlowReportsDatabase(FaultyDatabase):
    """A real database on which a report of progress takes until a batch was run."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.reporting = threading.Event()
        self._batch_was_run = threading.Event()

    async def execute(self, statement: Statement) -> list[Row]:
        if "reports" in statement.values:
            self.reporting.set()
            await asyncio.to_thread(self._batch_was_run.wait, SOON)
        return await super().execute(statement)

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        answer = await super().batch(statements)
        self._batch_was_run.set()
        return answer


async def test_last_progress_is_kept_though_the_end_overtakes_its_report(
    database: Database, store: Store
) -> None:
    slow = SlowReportsDatabase(database)

    @define_job(name="Report")
    def report(params: None, context: JobContext) -> None:
        context.update_progress(42, "nearly half")
        assert slow.reporting.wait(SOON)
        raise ValueError

    with pytest.raises(JobFailedError, match="ValueError"):
        await on(slow, report).now(None)

    (row,) = await all_rows(store)
    assert (row.status, row.progress) == (JobStatus.FAILED, 42)
    assert row.progress_message == "nearly half"


# ── leases ───────────────────────────────────────────────────────────────────────────────────


async def waits(params: None) -> str:
    await asyncio.sleep(2.5)
    return "done"


def waits_on_a_thread(params: None) -> str:
    time.sleep(2.5)
    return "done"


async def blocks_the_loop(params: None) -> str:
    time.sleep(2.5)  # noqa: ASYNC251 - the very thing that handlers shouldn't do, and do
    return "done"


async def test_leases_are_renewed_however_the_handler_spends_its_time(
    database: Database, store: Store
) -> None:
    """All three at once on loops of their own: each runs two and a half times its lease."""

    def run(handler: Callable[[None], Any]) -> str:
        job = on(database, define_job()(handler))
        return asyncio.run(job.now(None, lease=1)).data

    async with asyncio.TaskGroup() as tasks:
        handlers = (waits, waits_on_a_thread, blocks_the_loop)
        running = [tasks.create_task(asyncio.to_thread(run, handler)) for handler in handlers]
        for _ in range(12):
            await asyncio.sleep(0.2)
            assert await store.rescue() == {}

    assert [task.result() for task in running] == ["done"] * 3
    assert {row.status for row in await all_rows(store)} == {JobStatus.COMPLETED}


async def test_job_whose_lease_was_lost_is_stopped_and_its_result_refused(
    gate: Gate, gated: Job[Number, Number], database: Database, store: Store
) -> None:
    running = asyncio.create_task(gated.now({"value": 1}, lease=1))
    await gate.begun.wait()
    await take_away(database, gate.job_id)

    with pytest.raises(JobFailedError, match="its lease was lost; somebody else may run it now"):
        await running

    row = await store.get(gate.job_id)
    assert (row.status, row.fence, row.result) == (JobStatus.RUNNING, 2, None)


async def take_away(database: Database, job_id: str) -> None:
    """As if the lease had expired, and another worker had claimed the job."""
    jobs = database.tables.jobs
    other = {"fence": jobs.c.fence + 1, "worker_id": "another"}
    await database.execute(Statement(update(jobs).where(jobs.c.id == job_id).values(**other)))


# ── cancellation ─────────────────────────────────────────────────────────────────────────────


async def test_cancelling_the_record_interrupts_the_handler(
    gate: Gate, gated: Job[Number, Number], store: Store
) -> None:
    running = asyncio.create_task(gated.now({"value": 1}))
    await gate.begun.wait()

    assert await gated.cancel(gate.job_id) is JobStatus.RUNNING
    with pytest.raises(JobCancelledError, match=f"Gated {gate.job_id} was cancelled"):
        await asyncio.wait_for(running, SOON)

    row = await store.get(gate.job_id)
    assert (row.status, row.error) == (JobStatus.CANCELLED, "cancelled on request")


async def test_cancelling_the_record_is_seen_by_a_plain_handler(
    database: Database, store: Store
) -> None:
    @define_job(name="Poll")
    def poll(params: None, context: JobContext) -> None:
        deadline = time.monotonic() + SOON
        while time.monotonic() < deadline:
            context.raise_if_cancelled()
            time.sleep(0.01)

    job = on(database, poll)
    running = asyncio.create_task(job.now(None))
    (row,) = await until(lambda: all_rows(store))
    await job.cancel(row.id)

    with pytest.raises(JobCancelledError):
        await running


async def test_completion_wins_over_a_cancellation_that_comes_late(
    gate: Gate, gated: Job[Number, Number], store: Store
) -> None:
    running = asyncio.create_task(gated.now({"value": 1}))
    await gate.begun.wait()
    gate.go_on.set()
    await gated.cancel(gate.job_id)

    assert (await running).ok
    assert (await store.get(gate.job_id)).status is JobStatus.COMPLETED


async def test_cancelling_the_caller_settles_the_row(
    gate: Gate, gated: Job[Number, Number], store: Store
) -> None:
    running = asyncio.create_task(gated.now({"value": 1}))
    await gate.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    row = await store.get(gate.job_id)
    assert (row.status, row.error) == (JobStatus.CANCELLED, "its caller was cancelled")


async def test_cancelling_the_caller_while_the_row_is_inserted_leaves_none_running(
    gated: Job[Number, Number], store: Store
) -> None:
    for pause in range(20):
        running = asyncio.create_task(gated.now({"value": 1}))
        await asyncio.sleep(pause / 10_000)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert {row.status for row in await all_rows(store)} <= {JobStatus.CANCELLED}


async def test_job_that_runs_while_its_caller_is_being_cancelled_is_run(
    database: Database, store: Store
) -> None:
    """Code that cleans up after a cancellation may run jobs like any other."""

    @define_job(name="Clean")
    async def clean(params: None) -> str:
        child = asyncio.create_task(asyncio.sleep(0))
        await child
        return "clean"

    async def caller() -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return (await on(database, clean).now(None)).data
        return "not cancelled"

    task = asyncio.create_task(caller())
    await asyncio.sleep(0)
    task.cancel()

    assert await task == "clean"


# ── batch ────────────────────────────────────────────────────────────────────────────────────


async def test_batch_leaves_one_row_per_input_and_answers_in_order(
    database: Database, store: Store
) -> None:
    running = most = 0

    @define_job(name="Odd")
    async def odd(params: Number) -> Number:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        if params.value % 2 == 0:
            raise ValueError(f"{params.value} is even")
        return params

    inputs = [Number(value=value) for value in range(9)]
    results = await on(database, odd).batch(inputs, concurrency=3, correlation_id="b")

    assert most == 3
    assert [result.ok for result in results] == [False, True] * 4 + [False]
    assert [result.data for result in results[1::2]] == inputs[1::2]
    with pytest.raises(JobFailedError, match="4 is even"):
        results[4].data  # noqa: B018
    rows = {row.id: row for row in await all_rows(store)}
    assert len(rows) == 9
    for result, given in zip(results, inputs, strict=True):
        row = rows[result.metadata.job_id or ""]
        assert json.loads(row.params) == {"value": given.value}
        assert row.status is result.metadata.status
        assert row.correlation_id == "b"


async def test_batch_that_stops_on_an_error_leaves_no_row_for_the_rest(
    database: Database, store: Store
) -> None:
    @define_job(name="Second")
    async def second(params: int) -> int:
        if params == 2:
            raise ValueError
        return params

    results = await on(database, second).batch([1, 2, 3, 4], concurrency=1, stop_on_error=True)

    assert [type(result.error) for result in results] == [
        type(None),
        JobFailedError,
        NotStartedError,
        NotStartedError,
    ]
    assert len(await all_rows(store)) == 2


async def test_batch_raises_what_is_the_databases_fault_and_no_jobs(database_url: str) -> None:
    database = connect(database_url)

    @define_job(name="Note")
    async def note(params: int) -> None: ...

    try:
        with pytest.raises(MigrationRequiredError):
            await on(database, note).batch([1, 2, 3])
    finally:
        await database.close()


async def test_cancelling_a_batch_settles_all_its_rows(database: Database, store: Store) -> None:
    @define_job(name="Sleep")
    async def sleep(params: int) -> None:
        await asyncio.sleep(30)

    running = asyncio.create_task(on(database, sleep).batch([1, 2, 3], concurrency=2))
    await until(lambda: two_rows(store))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [row.status for row in await all_rows(store)] == [JobStatus.CANCELLED] * 2


async def two_rows(store: Store) -> bool:
    return len(await all_rows(store)) == 2
