"""The work loop by itself: a backend of anybody's, and an observer that is told of its jobs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from server_jobs import Job, JobRegistry, JobStatus, create_job_registry, define_job
from server_jobs.backend.work_loop import WorkLoop
from server_jobs.definition.held import Held
from server_jobs.definition.stop_request import StopReason
from server_jobs.execution.group_commit import Over
from server_jobs.memory import InMemoryBackend
from server_jobs.records.outcomes import Outcome
from server_jobs.records.rows import Claim, ClaimedJob


class Recorder:
    """Writes down which events there were, in order, with what tells them apart."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []

    def job_began(self, job: ClaimedJob) -> None:
        self.events.append(("began", job.id))

    def job_ended(self, job: ClaimedJob, outcome: Outcome, seconds: float) -> None:
        assert seconds >= 0
        self.events.append(("ended", type(outcome).__name__))

    def job_settled(self, claim: Claim, over: Over) -> None:
        self.events.append(("settled", over.status))

    def lease_lost(self, job: ClaimedJob, seconds: float) -> None:
        self.events.append(("lease lost", job.id))

    def execution_broke(self, job: ClaimedJob, error: BaseException) -> None:
        self.events.append(("broke", str(error)))


class BrokenBackend(InMemoryBackend):
    """Has a bug outside of any handler."""

    async def run(self, job: ClaimedJob, held: Held) -> Outcome | None:
        raise RuntimeError("a bug")


@define_job(name="Echo")
async def echo(params: str) -> str:
    return params


@define_job(name="Endless")
async def endless(params: str) -> None:
    await asyncio.Event().wait()


@pytest.fixture
def registry() -> JobRegistry:
    return create_job_registry().register(echo).register(endless)


@pytest.fixture
async def backend(registry: JobRegistry) -> AsyncIterator[InMemoryBackend]:
    backend = InMemoryBackend(job_registry=registry)
    await backend.initialize()
    registry.bind(backend.database)
    yield backend
    await backend.shutdown()


async def begin(loop: WorkLoop, job: Job[str, Any]) -> str:
    """Enqueue a job and run the cycle that claims it → its id."""
    job_id = await job.later("hello")
    request = loop.next_claim()
    assert request is not None
    await loop.cycle(request)
    return job_id


async def test_completed_job_is_told_of_three_times(backend: InMemoryBackend) -> None:
    recorder = Recorder()
    loop = WorkLoop(backend, recorder)

    job_id = await begin(loop, echo)
    assert [job.id for job in loop.running] == [job_id]
    await loop.settle_until_idle(10)

    assert recorder.events == [
        ("began", job_id),
        ("ended", "Completed"),
        ("settled", JobStatus.COMPLETED),
    ]
    assert (loop.running, loop.has_outcomes, loop.needs_cycle) == ([], False, False)
    assert backend.leases.all == []


async def test_lost_lease_is_told_of_and_nothing_is_settled(backend: InMemoryBackend) -> None:
    recorder = Recorder()
    loop = WorkLoop(backend, recorder)
    job_id = await begin(loop, endless)

    (held,) = backend.leases.all
    held.stop_request.make(StopReason.LEASE_LOST)
    await loop.settle_until_idle(10)

    assert recorder.events == [("began", job_id), ("lease lost", job_id)]
    assert (await endless.get(job_id)).status is JobStatus.RUNNING


async def test_execution_that_breaks_is_told_of_and_fails_at_once(
    registry: JobRegistry,
) -> None:
    backend, recorder = BrokenBackend(job_registry=registry), Recorder()
    await backend.initialize()
    registry.bind(backend.database)
    loop = WorkLoop(backend, recorder)

    job_id = await begin(loop, echo)
    await loop.settle_until_idle(10)

    assert recorder.events == [
        ("began", job_id),
        ("broke", "a bug"),
        ("ended", "Failed"),
        ("settled", JobStatus.PENDING),
    ]
    (failed,) = (await echo.get(job_id)).attempt_errors
    assert (failed.type, failed.message) == ("RuntimeError", "a bug")
    assert (backend.leases.all, loop.running) == ([], [])
    await backend.shutdown()


async def test_queue_that_gave_less_than_was_asked_for_is_not_asked_again(
    backend: InMemoryBackend,
) -> None:
    loop = WorkLoop(backend, Recorder())

    await begin(loop, echo)
    asked_again = loop.next_claim()
    loop.ask_all_queues()
    limited = loop.next_claim(most=2)

    assert asked_again is None
    assert limited is not None
    assert limited.limit == 2
    assert loop.next_claim(most=0) is None
    await loop.settle_until_idle(10)


async def test_settling_ends_early_when_it_is_enough(backend: InMemoryBackend) -> None:
    loop = WorkLoop(backend, Recorder())
    await begin(loop, endless)

    async with asyncio.timeout(5):
        await loop.settle_until_idle(60, enough=lambda: True)

    assert len(loop.running) == 1
    loop.cancel_executions()
    await loop.settle_until_idle(10)
    assert loop.running == []
