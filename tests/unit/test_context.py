"""What a handler is given, without and with a record behind it."""

import asyncio
import logging
from typing import Any

import pytest
from structlog.stdlib import BoundLogger

from server_jobs import JobContext, connect, create_job_context
from server_jobs.definition.context import attach
from server_jobs.definition.held import Held
from server_jobs.definition.stop_request import StopReason, StopRequest
from server_jobs.errors import DatabaseNotConfiguredError
from server_jobs.records.rows import Claim


@pytest.fixture
def held() -> Held:
    return Held(Claim("0190", 1))


@pytest.fixture
def context(held: Held) -> JobContext:
    context = JobContext(job_name="Import", job_id="0190", attempt=2, correlation_id="c")
    attach(context, held.stop_request, held)
    return context


# ── progress ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("percent", "noted"),
    [
        (-1, 0.0),
        (0, 0.0),
        (33.5, 33.5),
        (100, 100.0),
        (1e308, 100.0),
        (float("inf"), 100.0),
        (float("-inf"), 0.0),
        (float("nan"), 0.0),
        (True, 1.0),
    ],
)
async def test_progress_is_clamped(
    context: JobContext, held: Held, percent: float, noted: float
) -> None:
    await context.update_progress(percent)

    assert held.unwritten_progress == (noted, None)


async def test_progress_is_noted_whether_it_is_awaited_or_not(
    context: JobContext, held: Held
) -> None:
    context.update_progress(10)
    assert held.unwritten_progress == (10.0, None)
    await context.update_progress(20)
    assert held.unwritten_progress == (20.0, None)


async def test_awaiting_progress_lets_other_tasks_run(context: JobContext) -> None:
    others: list[str] = []
    asyncio.get_running_loop().call_soon(others.append, "ran")

    await context.update_progress(10)

    assert others == ["ran"]


def test_message_stands_until_another_one_comes(context: JobContext, held: Held) -> None:
    context.update_progress(10, "reading")
    context.update_progress(20)
    assert held.unwritten_progress == (20.0, "reading")
    context.update_progress(30, "")
    assert held.unwritten_progress == (30.0, "")


@pytest.mark.parametrize(
    ("message", "noted"), [("a\0b", "a\ufffdb"), ("a\udc80", "a?"), ("x" * 10_000, "x" * 2_000)]
)
def test_message_is_made_fit_to_be_stored(
    context: JobContext, held: Held, message: str, noted: str
) -> None:
    context.update_progress(10, message)

    assert held.unwritten_progress == (10.0, noted)


def test_progress_counts_as_unwritten_until_that_very_report_is_written(
    context: JobContext, held: Held
) -> None:
    context.update_progress(10)
    first = held.unwritten_progress
    context.update_progress(20)
    second = held.unwritten_progress
    assert first is not None
    assert second is not None

    held.has_written(first)
    assert held.unwritten_progress == (20.0, None)
    held.has_written(second)
    assert held.unwritten_progress is None


async def test_progress_without_a_record_goes_nowhere() -> None:
    context = create_job_context()

    await context.update_progress(10, "reading")
    context.update_progress(20)

    assert (context.job_id, context.attempt, context.correlation_id) == (None, 1, None)


# ── cancellation ─────────────────────────────────────────────────────────────────────────────


def test_nobody_cancels_what_has_no_record() -> None:
    context = create_job_context(job_name="Import", job_id="0190", attempt=3, correlation_id="c")

    assert not context.cancelled
    context.raise_if_cancelled()
    assert (context.job_id, context.attempt, context.correlation_id) == ("0190", 3, "c")


@pytest.mark.parametrize("reason", StopReason)
def test_every_reason_to_stop_is_seen(context: JobContext, held: Held, reason: StopReason) -> None:
    before = context.cancelled
    held.stop_request.make(reason)

    assert (before, context.cancelled) == (False, True)
    with pytest.raises(asyncio.CancelledError):
        context.raise_if_cancelled()


async def test_context_without_a_record_is_stopped_and_its_progress_goes_nowhere() -> None:
    context, stop_request = create_job_context(), StopRequest()
    attach(context, stop_request)

    await context.update_progress(10, "reading")
    before = context.cancelled
    stop_request.make(StopReason.TIMED_OUT)

    assert (before, context.cancelled) == (False, True)


def test_first_reason_to_stop_counts_and_interrupts_once() -> None:
    interrupted: list[str] = []
    stop_request = StopRequest()
    stop_request.interrupt_with(lambda: interrupted.append("now"))
    stop_request.make(StopReason.TIMED_OUT)
    stop_request.make(StopReason.CANCELLED)

    assert stop_request.reason is StopReason.TIMED_OUT
    assert interrupted == ["now"]


def test_handler_that_begins_after_it_was_stopped_is_interrupted_at_once() -> None:
    interrupted: list[str] = []
    stop_request = StopRequest()
    stop_request.make(StopReason.SHUTDOWN)
    stop_request.interrupt_with(lambda: interrupted.append("late"))

    assert interrupted == ["late"]


# ── the database ─────────────────────────────────────────────────────────────────────────────


def test_database_is_the_jobs_own() -> None:
    database = connect("sqlite://")

    assert create_job_context(database=database).get_database() is database
    with pytest.raises(DatabaseNotConfiguredError, match="Import runs without a database"):
        create_job_context(job_name="Import").get_database()


# ── log lines ────────────────────────────────────────────────────────────────────────────────


LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
OF_THE_JOB = {"job_name": "Import", "job_id": "0190", "attempt": 2, "correlation_id": "c"}


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


def test_log_is_structlogs(context: JobContext) -> None:
    assert isinstance(context.log, BoundLogger)


@pytest.mark.parametrize("method", LEVELS)
def test_lines_reach_the_standard_librarys_logging_with_their_fields(
    context: JobContext, written: pytest.LogCaptureFixture, method: str
) -> None:
    getattr(context.log, method)("100 % read", rows=5)

    (record,) = written.records
    assert (record.name, record.levelno) == ("server_jobs.handler", LEVELS[method])
    assert record.getMessage() == "100 % read"
    assert vars(record).items() >= {**OF_THE_JOB, "rows": 5}.items()


def test_bound_fields_are_on_every_line_of_that_logger_only(
    context: JobContext, written: pytest.LogCaptureFixture
) -> None:
    log = context.log.bind(file="a.csv")
    log.info("reading")
    log.info("read")
    context.log.info("done")

    assert [getattr(record, "file", None) for record in written.records] == ["a.csv", "a.csv", None]
    assert all(vars(record).items() >= OF_THE_JOB.items() for record in written.records)


def test_exception_carries_what_is_being_handled(
    context: JobContext, written: pytest.LogCaptureFixture
) -> None:
    try:
        raise LookupError("no such order")
    except LookupError as error:
        context.log.exception("skipped", order=5)
        handled = error

    (record,) = written.records
    assert record.exc_info is not None
    assert (record.levelno, record.exc_info[1]) == (logging.ERROR, handled)
    assert vars(record)["order"] == 5


@pytest.mark.parametrize("name", ["name", "message", "args", "msg", "module", "asctime"])
def test_field_that_logging_has_itself_stands_beside_it(
    context: JobContext, written: pytest.LogCaptureFixture, name: str
) -> None:
    context.log.info("hello", **{name: "theirs"})

    (record,) = written.records
    assert record.getMessage() == "hello"
    assert vars(record)[f"{name}_"] == "theirs"


@pytest.mark.parametrize(
    "data", [5, "text", [1, 2], {"name": "x", "message": "y", "args": "z"}, {"rows": 5}]
)
def test_second_argument_is_data_and_may_be_anything(
    context: JobContext, written: pytest.LogCaptureFixture, data: Any
) -> None:
    context.log.info("100 % read: %s", data)

    (record,) = written.records
    assert record.getMessage() == "100 % read: %s"
    assert vars(record)["data"] == data


def test_further_arguments_are_data_too(
    context: JobContext, written: pytest.LogCaptureFixture
) -> None:
    context.log.info("%d of %d", 3, 5)

    (record,) = written.records
    assert (record.getMessage(), vars(record)["data"]) == ("%d of %d", (3, 5))


@pytest.mark.parametrize("data", [(), (None,)])
def test_line_without_data_has_none(written: pytest.LogCaptureFixture, data: Any) -> None:
    create_job_context(job_name="Import").log.info("begun", *data)

    (record,) = written.records
    assert not hasattr(record, "data")
    assert not hasattr(record, "job_id")


def test_lines_that_nobody_wants_are_not_made(
    context: JobContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    context.log.info("begun")

    assert caplog.records == []
