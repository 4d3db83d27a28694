"""The lease keeper where no thread can be started: a task that does the same."""

import asyncio
import threading
from typing import Any

from server_jobs import create_job_registry, define_job
from server_jobs.execution.lease_keeper import LeaseKeeper, LeaseKeeping
from server_jobs.memory import InMemoryBackend
from server_jobs.records.requests import ClaimRequest
from server_jobs.store.store import Store


async def work(params: dict[str, Any]) -> None:
    pass


async def test_progress_is_written_by_a_task_and_its_end_is_awaited() -> None:
    registry = create_job_registry().register(define_job(work))
    memory = InMemoryBackend(job_registry=registry)
    await memory.initialize()
    registry.bind(memory.database)
    job_id = await registry.get("work").later({})
    store = Store(memory.database)
    threads = set(threading.enumerate())
    keeping = LeaseKeeping(tick_seconds=0.01, on_thread=False)
    keeper = LeaseKeeper(store, worker_id="w", lease_seconds=60, keeping=keeping)

    async with keeper:
        (job,) = await store.claim(ClaimRequest("default", None, 1, "w", 60))
        keeper.hold(job).report(40, "so far")
        while (await store.get(job_id)).progress != 40:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        assert "server-jobs-leases" not in {t.name for t in set(threading.enumerate()) - threads}

    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"leases"})
    keeper.drop(job.claim)
    await memory.shutdown()


async def test_abandoned_leases_are_kept_no_more() -> None:
    registry = create_job_registry().register(define_job(work))
    memory = InMemoryBackend(job_registry=registry)
    await memory.initialize()
    registry.bind(memory.database)
    await registry.get("work").later({})
    store = Store(memory.database)
    keeping = LeaseKeeping(on_thread=False)
    keeper = LeaseKeeper(store, worker_id="w", lease_seconds=60, keeping=keeping)
    keeper.start()
    (job,) = await store.claim(ClaimRequest("default", None, 1, "w", 60))
    keeper.hold(job)

    keeper.abandon()

    assert keeper.all == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"leases"})
    await memory.shutdown()
