"""``now`` and ``batch`` with ``persist=False``: the handler runs, and no database is touched."""

import asyncio
import threading
import time
from typing import Any

import pytest
from pydantic import BaseModel

from server_jobs import (
    CancelJob,
    InvalidParamsError,
    Job,
    JobCancelledError,
    JobContext,
    JobFailedError,
    JobMetadata,
    JobStatus,
    NotStartedError,
    RetryLater,
    connect,
    create_job_registry,
    define_job,
)
from server_jobs.errors import DatabaseNotConfiguredError, InvalidOptionError, InvalidResultError

# None of the jobs here has a database: whatever touched one would raise.


class Number(BaseModel):
    value: int


@define_job(name="Double")
async def double(params: Number) -> Number:
    return Number(value=2 * params.value)


@define_job(name="Refuse")
async def refuse(params: Number) -> Number:
    raise LookupError(f"no {params.value}")


@pytest.mark.parametrize("params", [Number(value=2), {"value": 2}, {"value": "2"}])
async def test_model_or_mapping_gives_a_typed_result(params: Any) -> None:
    result = await double.now(params, persist=False, correlation_id="c")

    assert result.ok
    assert result.data == Number(value=4)
    assert result.error is None
    metadata = result.metadata
    assert (metadata.job_name, metadata.status) == ("Double", JobStatus.COMPLETED)
    assert (metadata.job_id, metadata.attempt, metadata.correlation_id) == (None, 1, "c")
    assert metadata.duration_ms is not None
    assert 0 <= metadata.duration_ms < 5_000


async def test_persisting_without_a_database_says_how_to_get_one() -> None:
    with pytest.raises(DatabaseNotConfiguredError):
        await double.now({"value": 2})


async def test_failure_is_raised_with_its_cause() -> None:
    with pytest.raises(JobFailedError, match=r"^Refuse failed: LookupError: no 2$") as caught:
        await refuse.now({"value": 2}, persist=False)

    assert (caught.value.job_name, caught.value.job_id) == ("Refuse", None)
    assert isinstance(caught.value.__cause__, LookupError)


async def test_wrong_params_begin_nothing() -> None:
    began: list[Number] = []

    @define_job(name="Note")
    async def note(params: Number) -> None:
        began.append(params)

    with pytest.raises(InvalidParamsError, match=r"Note: .*\n  value: .*\(got 'x'\)"):
        await note.now({"value": "x"}, persist=False)
    with pytest.raises(InvalidParamsError):
        await note.batch([{"value": 1}, {"value": "x"}], persist=False)

    assert began == []


def job_that_raises(error: BaseException) -> Job[Any, Any]:
    @define_job(name="Raise")
    async def raising(params: None) -> None:
        raise error

    return raising


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (RetryLater(1), JobFailedError, "Raise failed: RetryLater: asked to be run again in 1 s"),
        (CancelJob("not wanted"), JobCancelledError, "Raise was cancelled: not wanted"),
        (Unspeakable(), JobFailedError, "Raise failed: Unspeakable"),
        (asyncio.CancelledError(), JobFailedError, "but nobody asked it to stop"),
        (SystemExit(3), JobFailedError, r"the handler called sys.exit\(3\)"),
    ],
)
async def test_what_a_handler_raises_ends_the_job_and_not_its_caller(
    error: BaseException, kind: type[JobFailedError], says: str
) -> None:
    with pytest.raises(JobFailedError, match=says) as caught:
        await job_that_raises(error).now(None, persist=False)

    assert type(caught.value) is kind


async def test_result_that_does_not_fit_fails() -> None:
    @define_job(name="Count")
    def count(params: None) -> int:
        return "many"  # type: ignore[return-value]

    with pytest.raises(JobFailedError, match="Count: result don't fit") as caught:
        await count.now(None, persist=False)

    assert isinstance(caught.value.__cause__, InvalidResultError)


async def test_timeout_holds_without_a_record_too() -> None:
    @define_job(name="Sleep", timeout=0.02)
    async def sleep(params: None) -> None:
        await asyncio.sleep(30)

    @define_job(name="Poll", timeout=0.02)
    def poll(params: None, context: JobContext) -> None:
        while True:
            context.raise_if_cancelled()
            time.sleep(0.005)

    for job in (sleep, poll):
        with pytest.raises(JobFailedError, match=f"{job.name} timed out"):
            await job.now(None, persist=False)


async def test_cancelling_the_caller_interrupts_the_handler() -> None:
    ended = asyncio.Event()

    @define_job(name="Sleep")
    async def sleep(params: None) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await sleep.now(None, persist=False)

    assert ended.is_set()


async def test_cancelling_the_caller_is_seen_by_a_plain_handler_and_waits_for_it() -> None:
    ended: list[bool] = []

    @define_job(name="Poll")
    def poll(params: None, context: JobContext) -> None:
        while not context.cancelled:
            time.sleep(0.005)
        ended.append(True)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await poll.now(None, persist=False)

    assert ended == [True]


async def test_handler_may_use_the_database_that_its_registry_has() -> None:
    @define_job(name="Ask")
    async def ask(params: None, context: JobContext) -> bool:
        return context.get_database() is database

    database = connect("sqlite://")
    create_job_registry().register(ask).bind(database)

    assert (await ask.now(None, persist=False)).data
    assert await ask(None)


async def test_handler_that_asks_for_a_database_where_there_is_none() -> None:
    @define_job(name="Ask")
    async def ask(params: None, context: JobContext) -> None:
        context.get_database()

    with pytest.raises(JobFailedError, match="Ask runs without a database"):
        await ask.now(None, persist=False)


async def test_progress_goes_nowhere_silently() -> None:
    @define_job(name="Report")
    async def report(params: None, context: JobContext) -> str | None:
        await context.update_progress(50, "half")
        return context.job_id

    assert (await report.now(None, persist=False)).data is None


# ── batch ────────────────────────────────────────────────────────────────────────────────────


async def test_batch_gives_one_result_per_input_in_order() -> None:
    @define_job(name="Backwards")
    async def backwards(params: Number) -> int:
        await asyncio.sleep(0.02 - params.value / 500)
        return params.value

    results = await backwards.batch(
        [{"value": value} for value in range(10)], concurrency=10, persist=False
    )

    assert [result.data for result in results] == list(range(10))


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_batch_runs_as_many_at_once_as_it_may_and_no_more(kind: str) -> None:
    running = most = 0
    lock = threading.Lock()

    def count(by: int) -> None:
        nonlocal running, most
        with lock:
            running += by
            most = max(most, running)

    async def handler(params: int) -> None:
        count(1)
        await asyncio.sleep(0.01)
        count(-1)

    def plain_handler(params: int) -> None:
        count(1)
        time.sleep(0.01)
        count(-1)

    job: Job[int, None] = define_job(name="Count")(handler if kind == "async" else plain_handler)
    await job.batch([1] * 12, concurrency=4, persist=False)

    assert most == 4


async def test_batch_never_raises_for_a_job() -> None:
    @define_job(name="Odd")
    async def odd(params: int) -> int:
        if params % 2 == 0:
            raise ValueError(f"{params} is even")
        return params

    results = await odd.batch([1, 2, 3], persist=False)

    assert [result.ok for result in results] == [True, False, True]
    with pytest.raises(JobFailedError, match="2 is even"):
        results[1].data  # noqa: B018
    assert results[1].metadata.status is JobStatus.FAILED


@pytest.mark.parametrize("error", [ValueError("stop"), asyncio.CancelledError()])
async def test_batch_that_stops_on_an_error_does_not_begin_the_rest(error: BaseException) -> None:
    began: list[int] = []

    @define_job(name="Second")
    async def second(params: int) -> int:
        began.append(params)
        if params == 2:
            raise error
        return params

    results = await second.batch([1, 2, 3, 4], concurrency=1, persist=False, stop_on_error=True)

    assert began == [1, 2]
    assert [type(result.error) for result in results[1:]] == [
        JobFailedError,
        NotStartedError,
        NotStartedError,
    ]
    assert results[3].metadata == JobMetadata("Second", None)
    with pytest.raises(NotStartedError, match="Second: the batch stopped"):
        results[3].data  # noqa: B018


async def test_batch_lets_those_that_have_begun_finish_after_an_error() -> None:
    @define_job(name="First")
    async def first(params: int) -> int:
        await asyncio.sleep(0.01 * params)
        if params == 0:
            raise ValueError
        return params

    results = await first.batch([0, 1, 2], concurrency=2, persist=False, stop_on_error=True)

    assert [type(result.error) for result in results] == [
        JobFailedError,
        type(None),
        NotStartedError,
    ]


async def test_batch_of_nothing_is_nothing() -> None:
    assert await double.batch([], persist=False) == []


@pytest.mark.parametrize("concurrency", [0, -1])
async def test_batch_refuses_a_concurrency_without_sense(concurrency: int) -> None:
    with pytest.raises(InvalidOptionError, match="Double: concurrency="):
        await double.batch([{"value": 1}], concurrency=concurrency, persist=False)


async def test_cancelling_a_batch_interrupts_its_handlers() -> None:
    ended: list[int] = []

    @define_job(name="Sleep")
    async def sleep(params: int) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(params)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await sleep.batch([1, 2, 3], concurrency=2, persist=False)

    assert sorted(ended) == [1, 2]
