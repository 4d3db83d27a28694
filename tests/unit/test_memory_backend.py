"""The in-memory backend, and by it what every backend promises."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import update

from server_jobs import (
    InvalidParamsError,
    JobContext,
    JobRegistry,
    JobStatus,
    RetryPolicy,
    create_job_registry,
    define_job,
    run_sync,
)
from server_jobs.backend import (
    BaseWorkerBackend,
    PollResult,
    WorkerBackend,
    WorkerBackendConfig,
    WorkerExecutionResult,
)
from server_jobs.errors import (
    ConfigurationError,
    LeaseLostError,
    MigrationRequiredError,
    UnknownJobError,
)
from server_jobs.memory import InMemoryBackend
from server_jobs.sql.statement import Statement


class Input(BaseModel):
    input: str


class Output(BaseModel):
    output: str


@define_job(name="TestJob", retry_policy=RetryPolicy.fixed(0))
async def shout(params: Input, context: JobContext) -> Output:
    if not params.input:
        raise ValueError("nothing to shout")
    await context.update_progress(50, "drawing breath")
    return Output(output=params.input.upper())


@pytest.fixture
async def backend() -> AsyncIterator[InMemoryBackend]:
    backend = InMemoryBackend(
        job_registry=create_job_registry().register(shout),
        config=WorkerBackendConfig(concurrency=3, lease=60),
    )
    await backend.initialize()
    yield backend
    await backend.shutdown()


def add(backend: InMemoryBackend, text: str = "hello") -> str:
    return backend.add_job(job_name="TestJob", params={"input": text})


async def test_the_references_example() -> None:
    """Line by line what the reference's chapter on testing shows."""

    async def handler(params: Input) -> Output:
        return Output(output=params.input.upper())

    test_job = define_job(
        name="TestJob",
        params_schema=Input,
        result_schema=Output,
        handler=handler,
    )

    registry = create_job_registry().register(test_job)
    backend = InMemoryBackend(
        database={},  # a mock there, and ignored
        job_registry=registry,
    )

    await backend.initialize()

    # Add and execute a job
    job_id = backend.add_job(job_name="TestJob", params={"input": "hello"})

    claimed_jobs = (await backend.poll_and_claim()).claimed_jobs
    assert len(claimed_jobs) == 1

    result = await backend.execute(claimed_jobs[0])
    assert result.success is True

    assert claimed_jobs[0].id == job_id
    await backend.shutdown()


def test_it_works_from_synchronous_tests_too() -> None:
    backend = InMemoryBackend(job_registry=create_job_registry().register(shout))
    run_sync(backend.initialize())
    add(backend)
    (job,) = run_sync(backend.poll_and_claim()).claimed_jobs
    assert run_sync(backend.execute(job)).success
    run_sync(backend.shutdown())


def test_it_is_a_worker_backend() -> None:
    backend: WorkerBackend = InMemoryBackend(job_registry=create_job_registry())

    assert isinstance(backend, BaseWorkerBackend)
    assert backend.name == "memory"
    assert backend.config == WorkerBackendConfig()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"queues": ()}, "must name one queue at least"),
        ({"queues": "default"}, "must name one queue at least"),
        ({"queues": ("",)}, "queues: '' isn't text"),
        ({"concurrency": 0}, "isn't from 1 to 10000"),
        ({"lease": 0.5}, "isn't between 1 second and 7 days"),
        ({"lease": float("nan")}, "isn't between 1 second and 7 days"),
        ({"max_releases": -1}, "must be at least 0"),
    ],
)
def test_config_without_sense_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        WorkerBackendConfig(**settings)


# ── polling ──────────────────────────────────────────────────────────────────────────────────


async def test_nothing_to_do_is_nothing_claimed(backend: InMemoryBackend) -> None:
    assert await backend.poll_and_claim() == PollResult([], 0)


async def test_poll_claims_up_to_its_concurrency_and_counts_what_was_due(
    backend: InMemoryBackend,
) -> None:
    for _ in range(5):
        add(backend)

    first = await backend.poll_and_claim()
    second = await backend.poll_and_claim(limit=1)
    third = await backend.poll_and_claim()

    assert (len(first.claimed_jobs), first.available_count) == (3, 5)
    assert (len(second.claimed_jobs), second.available_count) == (1, 2)
    assert (len(third.claimed_jobs), third.available_count) == (1, 1)
    claimed = [*first.claimed_jobs, *second.claimed_jobs, *third.claimed_jobs]
    assert len({job.id for job in claimed}) == 5


async def test_claimed_job_carries_what_its_execution_needs(backend: InMemoryBackend) -> None:
    job_id = add(backend)
    (job,) = (await backend.poll_and_claim()).claimed_jobs

    assert (job.id, job.job_name, job.fence, job.attempt_count) == (job_id, "TestJob", 1, 1)
    assert json.loads(job.params) == {"input": "hello"}
    assert job.worker_id == backend.worker_id


async def test_jobs_enqueued_through_the_api_are_claimed_too(backend: InMemoryBackend) -> None:
    backend.registry.bind(backend.database)
    job_id = await shout.later({"input": "hello"})
    (job,) = (await backend.poll_and_claim()).claimed_jobs
    await backend.execute(job)

    assert (await shout.wait(job_id, timeout=1)).data == Output(output="HELLO")


async def test_names_that_it_does_not_know_are_left_alone(backend: InMemoryBackend) -> None:
    @define_job(name="Stranger")
    async def stranger(params: None) -> None: ...

    stranger.set_database(backend.database)
    job_id = await stranger.later(None)

    assert await backend.poll_and_claim() == PollResult([], 0)
    assert (await stranger.get(job_id)).status is JobStatus.PENDING


async def test_every_queue_gets_its_turn() -> None:
    backend = InMemoryBackend(
        job_registry=create_job_registry().register(shout),
        config=WorkerBackendConfig(queues=("first", "second"), concurrency=1),
    )
    await backend.initialize()
    backend.registry.bind(backend.database)
    for queue in ("first", "second"):
        await shout.later_many([{"input": queue}] * 2, queue=queue)
    claimed = [(await backend.poll_and_claim()).claimed_jobs[0].queue for _ in range(4)]
    await backend.shutdown()

    assert sorted(claimed[:2]) == sorted(claimed[2:]) == ["first", "second"]


# ── adding ───────────────────────────────────────────────────────────────────────────────────


async def test_wrong_additions_are_refused_at_once(backend: InMemoryBackend) -> None:
    with pytest.raises(InvalidParamsError, match="TestJob: params don't fit"):
        backend.add_job(job_name="TestJob", params={"input": 5})
    with pytest.raises(UnknownJobError, match="did you mean 'TestJob'"):
        backend.add_job(job_name="testJob", params={"input": "hello"})

    assert (await backend.poll_and_claim()).available_count == 0


async def test_backends_share_nothing(backend: InMemoryBackend) -> None:
    other = InMemoryBackend(job_registry=backend.registry)
    await other.initialize()
    add(backend)

    assert (await other.poll_and_claim()).available_count == 0
    assert (await backend.poll_and_claim()).available_count == 1
    await other.shutdown()


async def test_polling_before_initialize_says_what_is_missing() -> None:
    backend = InMemoryBackend(job_registry=JobRegistry())
    with pytest.raises(MigrationRequiredError):
        await backend.poll_and_claim()
    assert not await backend.health_check()
    await backend.shutdown()


# ── executing ────────────────────────────────────────────────────────────────────────────────


async def test_execution_settles_the_row_and_tells_how_it_went(backend: InMemoryBackend) -> None:
    job_id = add(backend)
    (job,) = (await backend.poll_and_claim()).claimed_jobs
    result = await backend.execute(job)

    assert result == WorkerExecutionResult(job_id, True, result.duration, None)
    assert 0 < result.duration < 5_000
    row = await backend.store.get(job_id)
    assert (row.status, row.result) == (JobStatus.COMPLETED, '{"output":"HELLO"}')
    assert row.progress_message == "drawing breath"


async def test_duration_is_in_milliseconds() -> None:
    @define_job(name="Sleep")
    async def sleep(params: None) -> None:
        await asyncio.sleep(0.05)

    backend = InMemoryBackend(job_registry=create_job_registry().register(sleep))
    await backend.initialize()
    backend.add_job(job_name="Sleep", params=None)
    (job,) = (await backend.poll_and_claim()).claimed_jobs
    result = await backend.execute(job)
    await backend.shutdown()

    assert 45 < result.duration < 5_000


async def test_failed_job_is_claimed_again_until_its_attempts_are_used_up(
    backend: InMemoryBackend,
) -> None:
    job_id = add(backend, "")
    for attempt in (1, 2, 3):
        (job,) = (await backend.poll_and_claim()).claimed_jobs
        assert (job.attempt_count, job.fence) == (attempt, attempt)
        result = await backend.execute(job)
        assert (result.success, result.error) == (False, "nothing to shout")

    assert (await backend.store.get(job_id)).status is JobStatus.FAILED
    assert (await backend.poll_and_claim()).available_count == 0


async def test_job_that_was_executed_is_not_executed_again(backend: InMemoryBackend) -> None:
    add(backend)
    (job,) = (await backend.poll_and_claim()).claimed_jobs
    await backend.execute(job)
    again = await backend.execute(job)

    assert (again.success, again.error) == (False, "the lease was lost")


# ── giving back and taking back ──────────────────────────────────────────────────────────────


async def test_released_job_is_pending_again_without_a_used_attempt(
    backend: InMemoryBackend,
) -> None:
    job_id = add(backend)
    await backend.poll_and_claim()
    await backend.release_lock(job_id)

    row = await backend.store.get(job_id)
    assert (row.status, row.attempt_count, row.fence) == (JobStatus.PENDING, 0, 1)
    (again,) = (await backend.poll_and_claim()).claimed_jobs
    assert (again.id, again.fence) == (job_id, 2)


async def test_lock_that_is_not_held_cannot_be_released(backend: InMemoryBackend) -> None:
    job_id = add(backend)
    await backend.poll_and_claim()
    await backend.release_lock(job_id)

    for wrong in (job_id, "no such job"):
        with pytest.raises(LeaseLostError, match=f"job {wrong} isn't held by memory/"):
            await backend.release_lock(wrong)


async def expire_leases(backend: InMemoryBackend) -> None:
    """As if nobody had renewed them for a long time."""
    jobs = backend.database.tables.jobs
    past = datetime(2001, 1, 1, tzinfo=UTC)
    await backend.database.execute(Statement(update(jobs).values(worker_expires_at=past)))


async def test_expired_lock_is_taken_back_and_cannot_be_released(backend: InMemoryBackend) -> None:
    job_id = add(backend)
    await backend.poll_and_claim()
    assert await backend.handle_expired_locks() == 0

    await expire_leases(backend)
    assert await backend.handle_expired_locks() == 1
    assert await backend.handle_expired_locks() == 0

    row = await backend.store.get(job_id)
    assert (row.status, row.attempt_count) == (JobStatus.PENDING, 1)
    assert row.attempt_errors[0].type == "lease_expired"
    with pytest.raises(LeaseLostError, match="was lost before it was given back"):
        await backend.release_lock(job_id)


async def test_shutdown_gives_back_what_was_not_executed(backend: InMemoryBackend) -> None:
    job_id = add(backend)
    await backend.poll_and_claim()
    await BaseWorkerBackend.shutdown(backend)

    row = await backend.store.get(job_id)
    assert (row.status, row.attempt_count) == (JobStatus.PENDING, 0)


async def test_healthy_until_its_tables_are_gone(backend: InMemoryBackend) -> None:
    assert await backend.health_check()
    await backend.shutdown()
    assert not await backend.health_check()
