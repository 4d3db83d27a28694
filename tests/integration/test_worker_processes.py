"""Real worker processes on one database: killed, stopped and resumed, asked to end."""

import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from server_jobs import JobStatus
from server_jobs.database import Database
from server_jobs.store.store import Store
from tests.support.processes.app import (
    Event,
    Task,
    deaf,
    events,
    listening,
    open_gate,
    quick,
    registry,
)
from tests.support.processes.worker import WorkerProcess, worker_process
from tests.support.workers import statuses, until, until_status

SHORT_LEASE = ("--lease", "2")


@pytest.fixture(autouse=True)
def enqueue_here(database: Database) -> None:
    registry.bind(database)


async def test_two_workers_share_a_queue_and_execute_each_job_once(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    with (
        worker_process(tmp_path, migrated_url, "--concurrency", "4") as one,
        worker_process(tmp_path, migrated_url, "--concurrency", "4") as other,
    ):
        await until(lambda: is_up(one) and is_up(other), "both workers are up")
        ids = await quick.later_many([Task(n=n) for n in range(300)])
        await until_all_completed(store, 300)
        assert_ends_well(one)
        assert_ends_well(other)

    assert Counter(event.job_id for event in began(tmp_path)) == Counter(ids)
    assert {event.pid for event in began(tmp_path)} == {one.pid, other.pid}


async def test_a_killed_workers_jobs_are_executed_by_the_other(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    held = await listening.later(Task())
    options = ("--lease", "2", "--concurrency", "3")
    with worker_process(tmp_path, migrated_url, *options) as victim:
        await until(lambda: ran(tmp_path, held, victim), "the victim has the job that waits")
        with worker_process(tmp_path, migrated_url, *options) as survivor:
            await until(lambda: is_up(survivor), "the survivor is up")
            ids = await quick.later_many([Task(n=n) for n in range(300)])

            def half_way() -> bool:
                done = Counter(event.pid for event in began(tmp_path))
                return done[victim.pid] > 20 and done[survivor.pid] > 20

            await until(half_way, "both workers are in the middle of it")
            victim.send(signal.SIGKILL)
            assert victim.wait() == -signal.SIGKILL
            open_gate(tmp_path, attempt=2)
            await until_all_completed(store, 301)
            assert_ends_well(survivor)

    record = await store.get(held)
    assert (record.result, record.attempt_count, record.fence) == ("2", 2, 2)
    assert [error.type for error in record.attempt_errors] == ["lease_expired"]
    executions: dict[str, list[int]] = {job_id: [] for job_id in [*ids, held]}
    for event in began(tmp_path):
        executions[event.job_id].append(event.pid)
    assert executions[held] == [victim.pid, survivor.pid]
    for job_id, pids in executions.items():
        # Only what the killed one held was claimed once more, and by the other.
        record = await store.get(job_id)
        assert record.fence == record.attempt_count
        assert pids in ([victim.pid], [survivor.pid]) or pids == [victim.pid, survivor.pid]
        assert len(pids) <= record.fence <= 2


async def test_a_worker_that_sleeps_beyond_its_lease_cannot_complete_what_others_took_over(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    jobs = [await listening.later(Task()), await deaf.later(Task())]
    with worker_process(tmp_path, migrated_url, *SHORT_LEASE) as sleeper:
        for job_id in jobs:
            await until(lambda j=job_id: ran(tmp_path, j, sleeper), "the sleeper has the job")  # type: ignore[misc]
        sleeper.send(signal.SIGSTOP)
        with worker_process(tmp_path, migrated_url, *SHORT_LEASE) as other:
            open_gate(tmp_path, attempt=2)
            await until_all_completed(store, 2)
            completed = [await store.get(job_id) for job_id in jobs]
            assert all(f"/{other.pid}/" in str(record.worker_id) for record in completed)

            sleeper.send(signal.SIGCONT)
            await until(
                lambda: "the lease was lost, its handler is stopped" in sleeper.log,
                "the sleeper says that it lost the job",
            )
            interrupted = Event("interrupted", jobs[0], 1, sleeper.pid)
            await until(lambda: interrupted in events(tmp_path), "its handler is interrupted")
            open_gate(tmp_path, attempt=1)
            ended = Event("ended", jobs[1], 1, sleeper.pid)
            await until(lambda: ended in events(tmp_path), "the deaf handler returns its result")
            await until(
                lambda: f"job {jobs[1]}: the lease was lost, its outcome is refused" in sleeper.log,
                "the sleeper says that its completion is refused",
            )
            assert [await store.get(job_id) for job_id in jobs] == completed
            assert [record.result for record in completed] == ["2", "2"]
            assert_ends_well(sleeper)
            assert_ends_well(other)


async def test_a_terminated_worker_gives_its_jobs_to_the_other(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    job_id = await listening.later(Task())
    with worker_process(tmp_path, migrated_url, "--grace", "0.2") as first:
        await until(lambda: ran(tmp_path, job_id, first), "the first worker has the job")
        with worker_process(tmp_path, migrated_url) as second:
            assert_ends_well(first)
            await until(lambda: ran(tmp_path, job_id, second), "the second worker has the job")
            record = await store.get(job_id)
            assert (record.attempt_count, record.release_count) == (1, 1)
            open_gate(tmp_path, attempt=1)
            await until_status(store, job_id, JobStatus.COMPLETED)
            assert_ends_well(second)

    assert [(event.what, event.pid) for event in events(tmp_path)] == [
        ("began", first.pid),
        ("interrupted", first.pid),
        ("began", second.pid),
        ("ended", second.pid),
    ]


async def test_a_terminated_worker_lets_its_handlers_end(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    job_id = await listening.later(Task())
    with worker_process(tmp_path, migrated_url, "--grace", "60") as worker:
        await until(lambda: ran(tmp_path, job_id, worker), "the worker has the job")
        worker.send(signal.SIGTERM)
        await until(lambda: "SIGTERM" in worker.log, "it has heard")
        never = await quick.later(Task())
        open_gate(tmp_path, attempt=1)
        assert worker.wait() == 0, worker.log

    assert (await store.get(job_id)).status is JobStatus.COMPLETED
    assert (await store.get(never)).status is JobStatus.PENDING


async def test_a_second_signal_stops_at_once(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    job_id = await listening.later(Task())
    with worker_process(tmp_path, migrated_url, "--grace", "3600") as worker:
        await until(lambda: ran(tmp_path, job_id, worker), "the worker has the job")
        worker.send(signal.SIGTERM)
        await until(lambda: "SIGTERM" in worker.log, "it has heard")
        signalled = time.monotonic()
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0, worker.log
        assert time.monotonic() - signalled < 3

    record = await store.get(job_id)
    assert (record.status, record.attempt_count) == (JobStatus.PENDING, 0)


async def test_a_second_signal_leaves_a_handler_behind_that_does_not_listen(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    job_id = await deaf.later(Task())
    with worker_process(tmp_path, migrated_url, "--grace", "3600") as worker:
        await until(lambda: ran(tmp_path, job_id, worker), "the worker has the job")
        worker.send(signal.SIGTERM)
        await until(lambda: "SIGTERM" in worker.log, "it has heard")
        worker.send(signal.SIGTERM)
        assert worker.wait() != 0

    assert "its handler doesn't stop" in worker.log
    # Its lease has to expire first: for all that the database knows, the handler may still run.
    assert (await store.get(job_id)).status is JobStatus.RUNNING


def began(folder: Path, job_id: str | None = None) -> list[Event]:
    return [
        event
        for event in events(folder)
        if event.what == "began" and job_id in {None, event.job_id}
    ]


def ran(folder: Path, job_id: str, worker: WorkerProcess) -> bool:
    """Whether the job's handler has begun in this process."""
    return any(event.pid == worker.pid for event in began(folder, job_id))


def is_up(worker: WorkerProcess) -> bool:
    return " serves " in worker.log


def assert_ends_well(worker: WorkerProcess) -> None:
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.log


async def until_all_completed(store: Store, count: int) -> None:
    async def all_completed() -> bool:
        return await statuses(store) == {JobStatus.COMPLETED: count}

    await until(all_completed, f"all {count} jobs are completed")
