"""What a worker says of each execution."""

import logging

import pytest

from server_jobs import RetryPolicy, create_job_registry, define_job
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
    assert "again in 0.0 s: division by zero" in told[ids[1], 1].getMessage()
    assert "for good: division by zero" in told[ids[1], 2].getMessage()
    assert "ZeroDivisionError" in told[ids[1], 2].__dict__["traceback"]
    assert all(line.__dict__["job_name"] == "Divide" for line in lines)
