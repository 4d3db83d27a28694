"""Many that wait on one database: workers for jobs, and callers for the ends of theirs."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Sequence

import pytest

from server_jobs import connect, define_job, run_sync
from server_jobs.database import Database
from server_jobs.errors import DatabaseUnavailableError, JobNotFoundError, WaitTimeoutError
from server_jobs.migrate import migrate
from server_jobs.records.requests import Prunable
from server_jobs.records.status import JobStatus
from server_jobs.sql.statement import Row, Statement
from server_jobs.store.endings import Endings
from server_jobs.store.statements.maintain import ENDS
from server_jobs.store.store import Store
from tests.support.databases.faulty import Fault, FaultyDatabase
from tests.support.databases.pass_through import PassingDatabase
from tests.support.workers import Number, make_worker, registry_of

WORKERS, WAITS = 3, 300


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    migrate(database_url)
    database = connect(database_url)
    yield database
    await database.close()


@define_job(name="Note")
async def note(params: Number) -> None: ...


async def test_change_wakes_every_worker_on_one_database(database: Database) -> None:
    all_at_work = asyncio.Barrier(WORKERS)

    @define_job(name="Meet")
    async def meet(params: Number) -> None:
        await all_at_work.wait()

    registry = registry_of(database, meet)
    workers = [
        make_worker(database, registry, concurrency=1, poll_interval=30) for _ in range(WORKERS)
    ]
    tasks = [asyncio.create_task(worker.run_until_stopped()) for worker in workers]
    await asyncio.sleep(1)  # all of them have found nothing, and wait

    began = time.monotonic()
    job_ids = [await meet.later(Number()) for _ in range(WORKERS)]
    await asyncio.gather(*(meet.wait(job_id, timeout=20) for job_id in job_ids))

    assert time.monotonic() - began < 5
    for worker in workers:
        worker.stop()
    await asyncio.gather(*tasks)


class CountingDatabase(PassingDatabase):
    """Counts what is asked."""

    asked = 0

    async def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        self.asked += 1
        return await super()._run(statements)


async def waiting_for(job_ids: Sequence[str]) -> list[asyncio.Task[object]]:
    """One task a job, each of which has seen that its job hasn't ended."""
    waits: list[asyncio.Task[object]] = [
        asyncio.create_task(note.wait(job_id)) for job_id in job_ids
    ]
    await asyncio.sleep(1)
    return waits


async def test_many_waits_ask_together(database: Database) -> None:
    counting = CountingDatabase(database)
    note.set_database(counting)
    job_ids = await note.later_many([Number(n=n) for n in range(WAITS)])
    waits = await waiting_for(job_ids)

    counting.asked = 0
    await asyncio.sleep(1)
    assert counting.asked <= 10, "far fewer than there are waits"
    await Store(database).cancel_many(job_ids)

    async with asyncio.timeout(5):
        results = await asyncio.gather(*waits)
    assert {result.metadata.status for result in results} == {JobStatus.CANCELLED}  # type: ignore[attr-defined]


async def test_wait_for_a_record_that_is_deleted_ends(database: Database) -> None:
    note.set_database(database)
    store = Store(database)
    (wait,) = await waiting_for([await note.later(Number())])
    (job_id,) = await store.list_ids()
    await store.cancel(job_id)
    await store.prune(
        Prunable(dict.fromkeys(ENDS, (await store.clock()).replace(year=9000))), after="", to="g"
    )

    async with asyncio.timeout(5):
        with pytest.raises(JobNotFoundError):
            await wait


async def test_outage_is_raised_to_all_that_wait_and_to_nobody_later(database: Database) -> None:
    faulty = FaultyDatabase(database)
    note.set_database(faulty)
    job_ids = await note.later_many([Number(n=n) for n in range(3)])
    waits = await waiting_for(job_ids)

    faulty.break_once(Fault.BEFORE, when=lambda statement: "ids" in statement.values)
    failures = await asyncio.gather(*waits, return_exceptions=True)

    assert {type(failure) for failure in failures} == {DatabaseUnavailableError}
    with pytest.raises(WaitTimeoutError):
        await note.wait(job_ids[0], timeout=0.1)


async def test_cancelled_wait_leaves_the_others_waiting(database: Database) -> None:
    note.set_database(database)
    job_ids = await note.later_many([Number(n=n) for n in range(3)])
    first, *others = await waiting_for(job_ids)

    first.cancel()
    await Store(database).cancel_many(job_ids)

    async with asyncio.timeout(5):
        await asyncio.gather(*others)
    assert first.cancelled()


async def test_waits_go_on_where_a_handler_cancels_what_it_finds(database: Database) -> None:
    note.set_database(database)
    job_ids = await note.later_many([Number(n=n) for n in range(3)])
    waits = await waiting_for(job_ids)

    for task in asyncio.all_tasks() - {*waits, asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0.1)
    await Store(database).cancel_many(job_ids)

    async with asyncio.timeout(5):
        await asyncio.gather(*waits)


async def test_waits_go_on_where_their_question_is_cancelled_before_it_begins(
    database: Database,
) -> None:
    note.set_database(database)
    endings = Endings.of(database)
    wait = asyncio.create_task(endings.wait(job_id := await note.later(Number())))
    await asyncio.sleep(0)

    for task in asyncio.all_tasks() - {wait, asyncio.current_task()}:
        task.cancel()
    await Store(database).cancel(job_id)

    async with asyncio.timeout(5):
        await wait


async def test_loops_of_threads_that_waited_are_not_kept(database: Database) -> None:
    note.set_database(database)
    job_id = await note.later(Number())
    loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    async def wait() -> None:
        loops.add(asyncio.get_running_loop())
        with pytest.raises(WaitTimeoutError):
            await note.wait(job_id, timeout=0.05)

    def on_a_thread() -> None:
        thread = threading.Thread(target=lambda: run_sync(wait()))
        thread.start()
        thread.join()

    for _ in range(5):
        await asyncio.to_thread(on_a_thread)
    gc.collect()

    assert not list(loops)
