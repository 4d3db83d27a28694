"""How an attempt ends, whatever its handler does: recorded, and never the end of its worker."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server_jobs import (
    CancelJob,
    JobContext,
    JobRecord,
    JobStatus,
    PermanentError,
    RetryLater,
    RetryPolicy,
    create_job_registry,
    define_job,
)
from server_jobs.backend import WorkerExecutionResult
from server_jobs.memory import InMemoryBackend

MINUTE = RetryPolicy.fixed(60)


async def attempt(
    handler: Callable[..., Any], *, result: Any = Any, **settings: Any
) -> tuple[WorkerExecutionResult, JobRecord]:
    """Run a handler once as a job → what its backend says, and the row."""
    job = define_job(
        name="Tried", params_schema=Any, result_schema=result, handler=handler, **settings
    )
    backend = InMemoryBackend(job_registry=create_job_registry().register(job))
    await backend.initialize()
    try:
        job_id = backend.add_job(job_name="Tried", params=None)
        (claimed,) = (await backend.poll_and_claim()).claimed_jobs
        return await backend.execute(claimed), await backend.store.get(job_id)
    finally:
        await backend.shutdown()


def raises(error: BaseException, *, kind: str = "async") -> Callable[..., Any]:
    async def handler(params: Any) -> None:
        raise error

    def plain_handler(params: Any) -> None:
        raise error

    return handler if kind == "async" else plain_handler


def seconds_until(moment: datetime) -> float:
    return (moment - datetime.now(UTC)).total_seconds()


class Own(BaseException):
    """Not an ``Exception``, as some libraries derive theirs."""


class Noteless(Exception):
    """Asking for its notes raises."""

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise ValueError("no notes")


class Exiting(Exception):
    """Asking it what it is about would end the process."""

    def __str__(self) -> str:
        raise SystemExit(0)


class NoText(Exception):
    def __str__(self) -> Any:
        return 5


class Unspeakable(Exception):
    """Even asking it what it is about raises."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class UnspeakableRetryLater(RetryLater):
    __str__ = Unspeakable.__str__


# ── a handler's errors ───────────────────────────────────────────────────────────────────────


async def test_failed_attempt_is_recorded_and_another_one_follows() -> None:
    result, row = await attempt(raises(LookupError("no such order")), retry_policy=MINUTE)

    assert (result.success, result.error) == (False, "no such order")
    assert (row.status, row.attempt_count, row.error) == (JobStatus.PENDING, 1, "no such order")
    assert 50 < seconds_until(row.scheduled_for) <= 60
    (first,) = row.attempt_errors
    assert (first.attempt, first.type, first.message) == (1, "LookupError", "no such order")
    assert "LookupError: no such order" in first.traceback


@pytest.mark.parametrize("kind", ["async", "plain"])
@pytest.mark.parametrize(
    ("error", "type_name", "message"),
    [
        # Python itself turns these into RuntimeErrors where they would end a coroutine.
        (StopIteration("enough"), "RuntimeError", "coroutine raised StopIteration"),
        (StopAsyncIteration("enough"), "StopAsyncIteration", "enough"),
        (ExceptionGroup("two", [ValueError("a"), OSError("b")]), "ExceptionGroup", "two (2 sub-"),
        (Unspeakable(), "Unspeakable", "Unspeakable (its text can't be had: RuntimeError)"),
        (ValueError(), "ValueError", "ValueError"),
        (FutureCancelledError("a future was"), "CancelledError", "a future was"),
        (asyncio.CancelledError(), "RuntimeError", "the handler raised CancelledError, but nobody"),
        (SystemExit(), "RuntimeError", "the handler called sys.exit(); a job ends by"),
        (SystemExit("no"), "RuntimeError", "the handler called sys.exit('no'); a job ends by"),
        (ValueError("a\0b\udc80"), "ValueError", "a\ufffdb?"),
        (ValueError("x" * 1_000_000), "ValueError", "x" * 10_000),
        (Own("of our own"), "Own", "of our own"),
        (GeneratorExit("over"), "GeneratorExit", "over"),
        (BaseExceptionGroup("two", [SystemExit(1), Own()]), "BaseExceptionGroup", "two (2 sub-"),
        (Noteless("notes"), "Noteless", "notes"),
        (Exiting(), "Exiting", "Exiting (its text can't be had: SystemExit)"),
        (NoText(), "NoText", "NoText (its text can't be had: TypeError)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_whatever_is_raised_is_recorded(
    kind: str, error: BaseException, type_name: str, message: str
) -> None:
    result, row = await attempt(raises(error, kind=kind))

    assert row.status is JobStatus.PENDING
    (first,) = row.attempt_errors
    assert first.type == type_name
    assert first.message.startswith(message)
    assert len(first.message) <= 10_000
    assert len(first.traceback) <= 30_000
    assert result.error == row.error == first.message


@pytest.mark.parametrize(
    "error",
    [
        ExceptionGroup("outside", [Unspeakable()]),
        RuntimeError(Unspeakable()),
        KeyError(Unspeakable()),
    ],
    ids=["in a group", "as an argument", "as a key"],
)
async def test_broken_text_inside_another_error_is_no_trouble(error: Exception) -> None:
    _, row = await attempt(raises(error))

    assert row.status is JobStatus.PENDING
    assert row.error


HEADER = "Traceback (most recent call last):"


def first_frames(traceback: str) -> list[str]:
    """The first frame of each traceback in a text, without its source."""
    lines = traceback.splitlines()
    begins = [number for number, line in enumerate(lines) if HEADER in line]
    return [lines[number + 1].rpartition(", ")[2] for number in begins]


@pytest.mark.parametrize("kind", ["async", "plain"])
@pytest.mark.parametrize("grouped", [False, True])
async def test_traceback_begins_in_the_handler(kind: str, grouped: bool) -> None:
    error = ExceptionGroup("two", [ValueError("a")]) if grouped else ValueError("a")
    _, row = await attempt(raises(error, kind=kind))

    name = "in handler" if kind == "async" else "in plain_handler"
    assert first_frames(row.attempt_errors[0].traceback) == [name]
    assert "execution" not in row.attempt_errors[0].traceback


@pytest.mark.parametrize("kind", ["async", "plain"])
@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError])
async def test_traceback_of_a_cause_begins_in_the_handler(
    kind: str, error: type[BaseException]
) -> None:
    _, row = await attempt(raises(error(), kind=kind))

    name = "in handler" if kind == "async" else "in plain_handler"
    text = row.attempt_errors[0].traceback
    assert first_frames(text) == [name]
    assert text.splitlines()[-1].startswith("RuntimeError: the handler ")


async def test_traceback_of_a_result_that_does_not_fit_has_no_frames_of_ours() -> None:
    async def handler(params: Any) -> Any:
        return "many"

    _, row = await attempt(handler, result=int)

    text = row.attempt_errors[0].traceback
    assert "codec.py" not in text
    assert "InvalidResultError: Tried: " in text


async def test_frames_below_the_handler_are_kept_whosever_they_are() -> None:
    async def handler(params: Any) -> None:
        await asyncio.wait_for(asyncio.sleep(30), 0.001)

    _, row = await attempt(handler)

    text = row.attempt_errors[0].traceback
    assert first_frames(text)[-1] == "in handler"
    assert "in wait_for" in text


async def test_traceback_shows_no_local_variables() -> None:
    async def handler(params: Any) -> None:
        local = "hunter" + "2"
        raise ValueError(len(local))

    _, row = await attempt(handler)

    assert "hunter2" not in row.attempt_errors[0].traceback


async def test_broken_text_of_a_cause_is_no_trouble() -> None:
    async def handler(params: Any) -> None:
        raise ValueError("outside") from Unspeakable()

    _, row = await attempt(handler)

    assert row.error == "outside"


async def test_task_that_was_cancelled_under_the_handler_fails_the_attempt_only() -> None:
    async def handler(params: Any) -> None:
        child = asyncio.create_task(asyncio.sleep(10))
        asyncio.get_running_loop().call_soon(child.cancel)
        await child

    _, row = await attempt(handler)

    assert row.status is JobStatus.PENDING
    assert "something that it awaited was cancelled" in (row.error or "")


@pytest.mark.parametrize("error", [Noteless("notes"), Exiting()])
async def test_traceback_of_what_cannot_be_described_still_begins_in_the_handler(
    error: Exception,
) -> None:
    _, row = await attempt(raises(error))

    text = row.attempt_errors[0].traceback
    assert first_frames(text) == ["in handler"]
    assert f"{type(error).__name__}: " in text


async def test_last_attempt_fails_the_job() -> None:
    _, row = await attempt(raises(Unspeakable()), max_attempts=1)

    assert row.status is JobStatus.FAILED
    assert row.completed_at is not None


async def test_permanent_error_fails_at_once() -> None:
    result, row = await attempt(raises(PermanentError("no such customer")), max_attempts=5)

    assert (row.status, row.attempt_count, row.error) == (JobStatus.FAILED, 1, "no such customer")
    assert result.error == "no such customer"


@pytest.mark.parametrize("delay", [90, timedelta(seconds=90)])
async def test_retry_later_gives_the_attempt_back(delay: Any) -> None:
    error = RetryLater(delay, "the bank is closed")
    _, row = await attempt(raises(error), max_attempts=1)

    assert (row.status, row.attempt_count, row.errors) == (JobStatus.PENDING, 0, "[]")
    assert row.progress_message == "the bank is closed"
    assert 80 < seconds_until(row.scheduled_for) <= 90


async def test_retry_later_whose_text_is_broken_still_does_what_it_says() -> None:
    _, row = await attempt(raises(UnspeakableRetryLater(90)))

    assert (row.status, row.attempt_count) == (JobStatus.PENDING, 0)
    assert 80 < seconds_until(row.scheduled_for) <= 90


@pytest.mark.parametrize(
    ("errors", "status", "attempts", "message"),
    [
        ([PermanentError("never")], JobStatus.FAILED, 1, "never"),
        ([ValueError("a"), PermanentError("never")], JobStatus.FAILED, 1, "never"),
        ([CancelJob("moot"), PermanentError("never")], JobStatus.FAILED, 1, "never"),
        ([CancelJob("moot"), ValueError("a")], JobStatus.CANCELLED, 1, "moot"),
        ([RetryLater(500), RetryLater(90), RetryLater(1)], JobStatus.PENDING, 0, None),
        ([RetryLater(500), ValueError("a")], JobStatus.PENDING, 1, "group (2 sub-exceptions)"),
        ([RetryLater(500), CancelJob("moot")], JobStatus.CANCELLED, 1, "moot"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
async def test_signals_in_a_group_count(
    errors: list[Exception], status: JobStatus, attempts: int, message: str | None, nested: bool
) -> None:
    group = ExceptionGroup("group", errors)
    raised = ExceptionGroup("outer", [group]) if nested else group
    _, row = await attempt(raises(raised))

    assert (row.status, row.attempt_count) == (status, attempts)
    if not nested or message != "group (2 sub-exceptions)":
        assert row.error == message
    if status is JobStatus.PENDING:
        # The longest delay, also where an error beside it uses up the attempt.
        assert 490 < seconds_until(row.scheduled_for) <= 500
    if status is JobStatus.FAILED:
        assert row.attempt_errors[0].type == "PermanentError"
        assert "ExceptionGroup" in row.attempt_errors[0].traceback


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), timedelta(days=4_000)])
def test_retry_later_refuses_a_delay_without_sense(delay: Any) -> None:
    with pytest.raises(ValueError, match="0 seconds to ten years"):
        RetryLater(delay)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("the order was withdrawn", "the order was withdrawn"),
        ("a\0b\udc80", "a\ufffdb?"),
        ("x" * 1_000_000, "x" * 10_000),
        (404, "404"),
    ],
    ids=["text", "unstorable", "1 MB", "number"],
)
async def test_cancel_job_ends_as_cancelled_with_its_reason(reason: Any, kept: str) -> None:
    result, row = await attempt(raises(CancelJob(reason)))

    assert (row.status, row.error) == (JobStatus.CANCELLED, kept)
    assert (result.success, result.error) == (False, kept)


# ── retry policies ───────────────────────────────────────────────────────────────────────────


def policy_that_raises(attempt: int) -> float:
    raise Unspeakable


@pytest.mark.parametrize(
    "function",
    [policy_that_raises, lambda _: float("nan"), lambda _: None, lambda _: "soon"],
    ids=["raises", "NaN", "None", "text"],
)
async def test_custom_policy_that_breaks_does_not_lose_the_job(function: Any) -> None:
    _, row = await attempt(raises(ValueError("first")), retry_policy=RetryPolicy.custom(function))

    assert row.status is JobStatus.PENDING
    assert seconds_until(row.scheduled_for) <= RetryPolicy().base_seconds
    assert row.error is not None
    assert row.error.startswith("first (and its retry policy raised ")


async def test_custom_policy_decides_by_the_attempt() -> None:
    policy = RetryPolicy.custom(lambda attempt: timedelta(hours=attempt))
    _, row = await attempt(raises(ValueError()), retry_policy=policy)

    assert 3_590 < seconds_until(row.scheduled_for) <= 3_600


# ── results ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("returned", "schema", "says"),
    [
        ("many", int, "result don't fit the schema"),
        (None, int, "result don't fit the schema"),
        ("a\0b", str, "result hold a NUL character"),
        ("a\udc80", Any, "result can't be JSON"),
        (float("nan"), float, "nan isn't a number that JSON has"),
        (object(), Any, "result can't be JSON"),
        ("x" * 1024 * 1024, str, "more than the limit of 1,048,576"),
    ],
    ids=["other type", "nothing", "NUL", "surrogate", "NaN", "no JSON", "too large"],
)
async def test_result_that_cannot_be_kept_fails_for_good(
    returned: Any, schema: Any, says: str
) -> None:
    async def handler(params: Any) -> Any:
        return returned

    _, row = await attempt(handler, result=schema, max_attempts=5)

    # The work has been done, and would be done again in vain.
    assert (row.status, row.attempt_count) == (JobStatus.FAILED, 1)
    (first,) = row.attempt_errors
    assert first.type == "InvalidResultError"
    assert says in first.message
    assert first.message.startswith("Tried: ")


# ── time-outs ────────────────────────────────────────────────────────────────────────────────


async def test_async_handler_is_interrupted_at_its_timeout() -> None:
    async def handler(params: Any) -> None:
        await asyncio.sleep(30)

    result, row = await attempt(handler, timeout=0.05, retry_policy=MINUTE)

    assert (row.status, row.attempt_count) == (JobStatus.PENDING, 1)
    assert row.attempt_errors[0].type == "timed_out"
    assert result.error == "the handler took longer than its timeout of 0.05 s"
    assert 40 < result.duration < 5_000


async def test_plain_handler_that_polls_stops_at_its_timeout() -> None:
    def handler(params: Any, context: JobContext) -> None:
        while not context.cancelled:
            time.sleep(0.005)
        context.raise_if_cancelled()

    _, row = await attempt(handler, timeout=0.05, max_attempts=1)

    assert row.status is JobStatus.FAILED
    assert row.attempt_errors[0].type == "timed_out"


async def test_plain_handler_that_does_not_listen_is_waited_for_and_its_result_kept() -> None:
    def handler(params: Any) -> str:
        time.sleep(0.1)
        return "late"

    result, row = await attempt(handler, timeout=0.02)

    assert (result.success, row.status, row.result) == (True, JobStatus.COMPLETED, '"late"')


async def test_handler_that_swallows_its_interruption_completes() -> None:
    async def handler(params: Any) -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
        return "finished anyway"

    _, row = await attempt(handler, timeout=0.02)

    assert (row.status, row.result) == (JobStatus.COMPLETED, '"finished anyway"')


async def test_what_a_handler_raises_at_its_timeout_is_a_note_on_the_timeout() -> None:
    async def handler(params: Any) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            raise OSError("the disk is full")

    _, row = await attempt(handler, timeout=0.02)

    (first,) = row.attempt_errors
    assert (row.status, first.type) == (JobStatus.PENDING, "timed_out")
    assert first.message == (
        "the handler took longer than its timeout of 0.02 s;"
        " asked to stop, its handler raised OSError: the disk is full"
    )
    assert "in handler" in first.traceback


async def test_interruption_leaves_the_workers_own_task_alone() -> None:
    """A cancellation that isn't taken back would end whatever the worker awaits next."""

    async def handler(params: Any) -> None:
        await asyncio.sleep(30)

    await attempt(handler, timeout=0.02)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_timeouts_of_the_handlers_own_work_beside_ours() -> None:
    async def handler(params: Any) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            return "its own"
        return "none"

    _, row = await attempt(handler, timeout=10)

    assert row.result == '"its own"'


async def test_finished_handler_is_not_interrupted_by_a_late_timeout() -> None:
    async def handler(params: Any) -> int:
        return 1

    _, row = await attempt(handler, timeout=0.001)
    await asyncio.sleep(0.01)

    assert row.status is JobStatus.COMPLETED


async def test_plain_handler_runs_on_a_thread_with_its_callers_context_variables() -> None:
    request: ContextVar[str] = ContextVar("request")
    request.set("4711")

    def handler(params: Any) -> tuple[bool, str]:
        return threading.current_thread() is threading.main_thread(), request.get()

    _, row = await attempt(handler)

    assert row.result == '[false,"4711"]'
