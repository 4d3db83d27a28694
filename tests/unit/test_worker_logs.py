"""What a worker says of each execution."""

import asyncio
import logging
from typing import Any

import pytest
from pydantic import SecretStr

from server_jobs import PermanentError, RetryPolicy, create_job_registry, define_job
from server_jobs.errors import JobFailedError
from server_jobs.memory import InMemoryBackend
from server_jobs.worker import LocalWorker, WorkerConfig


@define_job(name="Divide", max_attempts=2, retry_policy=RetryPolicy.fixed(0))
async def divide(by: int) -> float:
    return 1 / by


async def test_every_execution_leaves_one_line_with_its_fields(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="server_jobs.worker")
    registry = create_job_registry().register(divide)
    backend = InMemoryBackend(job_registry=registry)
    await backend.initialize()
    registry.bind(backend.database)
    ids = await divide.later_many([1, 0])
    worker = LocalWorker(
        database=backend.database, job_registry=registry, config=WorkerConfig(drain=True)
    )

    await worker.run_until_stopped()
    await backend.shutdown()

    lines = [record for record in caplog.records if hasattr(record, "job_id")]
    told = {(line.__dict__["job_id"], line.__dict__["attempt"]): line for line in lines}
    assert [told[ids[0], 1].levelname, told[ids[1], 1].levelname, told[ids[1], 2].levelname] == [
        "INFO",
        "WARNING",
        "ERROR",
    ]
    assert len(lines) == len(told) == 3
    assert "completed in" in told[ids[0], 1].getMessage()
    first, last = told[ids[1], 1], told[ids[1], 2]
    assert "again in 0.0 s, 1 attempt left: division by zero" in first.getMessage()
    assert "for good: division by zero" in last.getMessage()
    for line in (first, last):
        assert vars(line)["error"] == "ZeroDivisionError"
        assert begins_in(vars(line)["traceback"], "in divide")
    assert (vars(first)["attempts_left"], vars(first)["retry_in_seconds"]) == (1, 0.0)
    assert (vars(last)["attempts_left"], hasattr(last, "retry_in_seconds")) == (0, False)
    assert all(line.__dict__["job_name"] == "Divide" for line in lines)


def begins_in(traceback: str, where: str) -> bool:
    """Whether a traceback's first frame is there."""
    header, first, *_ = traceback.splitlines()
    return header == "Traceback (most recent call last):" and first.endswith(where)


async def test_job_that_fails_for_good_with_attempts_left_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @define_job(name="Refuse", max_attempts=5)
    async def refuse(params: None) -> None:
        raise PermanentError("no such customer")

    await execute_in_memory(refuse)

    (line,) = caplog.records
    assert line.levelname == "ERROR"
    assert "failed on attempt 1 of 5, for good: no such customer" in line.getMessage()


async def test_attempt_that_took_too_long_is_logged_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @define_job(name="Doze", timeout=0.01)
    async def doze(params: None) -> None:
        await asyncio.sleep(30)

    await execute_in_memory(doze)

    (line,) = caplog.records
    assert (line.levelname, vars(line)["error"]) == ("WARNING", "timed_out")
    assert not hasattr(line, "traceback")
    assert line.exc_text is None


async def test_formatter_of_the_standard_library_shows_the_traceback_with_secrets_masked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @define_job(name="Pay", max_attempts=1)
    async def pay(card: SecretStr) -> None:
        number = card.get_secret_value()
        raise ConnectionError(f"card {number} is refused")

    await execute_in_memory(pay, "4111-1111")

    (line,) = caplog.records
    shown = logging.Formatter("%(message)s").format(line)
    message, traceback = shown.split("\n", 1)
    assert message.endswith("for good: card ********** is refused")
    assert begins_in(traceback, "in pay")
    assert "4111-1111" not in shown
    assert line.exc_info is None


async def test_now_leaves_it_to_its_caller_to_log(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(JobFailedError):
        await divide.now(0, persist=False)

    assert caplog.records == []


async def execute_in_memory(job: Any, params: Any = None) -> None:
    """Execute one attempt of a job, as a test of a user's would."""
    backend = InMemoryBackend(job_registry=create_job_registry().register(job))
    await backend.initialize()
    backend.add_job(job_name=job.definition.name, params=params)
    for claimed in (await backend.poll_and_claim()).claimed_jobs:
        await backend.execute(claimed)
    await backend.shutdown()
