"""One ``Database`` object, used from wherever a user's program happens to run."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from server_jobs.database import Database
from server_jobs.store.store import Store
from tests.support.databases.kinds import Place, each_forking_kind, each_shared_kind
from tests.support.processes.forks import Signal, forked
from tests.support.scene import new_job


async def enqueue(database: Database, job_id: str) -> None:
    await Store(database).enqueue([new_job(id=job_id)])


async def ids(database: Database) -> list[str]:
    return sorted(job.id for job in await Store(database).list_jobs(limit=1_000))


async def test_two_calls_at_once_from_one_loop(database: Database) -> None:
    await asyncio.gather(*(enqueue(database, f"{number:02}") for number in range(40)))

    assert await ids(database) == [f"{number:02}" for number in range(40)]


def test_one_event_loop_after_another(database: Database) -> None:
    asyncio.run(enqueue(database, "a"))
    asyncio.run(enqueue(database, "b"))

    assert asyncio.run(ids(database)) == ["a", "b"]


def test_event_loops_in_several_threads(database: Database) -> None:
    at_once = threading.Barrier(6)

    def enqueue_some(thread: int) -> None:
        at_once.wait()
        for number in range(5):
            asyncio.run(enqueue(database, f"{thread}-{number}"))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(enqueue_some, range(6)))

    assert len(asyncio.run(ids(database))) == 30


@each_shared_kind
async def test_cancelled_caller_leaves_all_of_a_batch_or_nothing(database: Database) -> None:
    call = asyncio.ensure_future(
        Store(database).enqueue([new_job(id=f"{number:04}") for number in range(2_000)])
    )
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    await database.close()  # waits for a batch that was begun
    assert sum(count.count for count in await Store(database).counts()) in {0, 2_000}


async def test_closing_twice_or_unused_is_harmless(place: Place) -> None:
    database = place.open()

    await database.close()
    await database.close()


@each_shared_kind
async def test_use_after_close_opens_again(database: Database) -> None:
    await enqueue(database, "a")
    await database.close()
    await enqueue(database, "b")
    await database.close()

    assert await ids(database) == ["a", "b"]


@each_shared_kind
async def test_close_waits_for_what_is_under_way(database: Database, place: Place) -> None:
    calls = [asyncio.ensure_future(enqueue(database, f"{number:02}")) for number in range(20)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*calls)

    assert len(await ids(place.open())) == 20


@each_forking_kind
def test_forked_child_and_its_parent_both_go_on(database: Database) -> None:
    asyncio.run(enqueue(database, "before"))

    def work() -> None:
        for number in range(20):
            asyncio.run(enqueue(database, f"child-{number:02}"))
        asyncio.run(database.close())

    with forked(work):
        for number in range(20):
            asyncio.run(enqueue(database, f"parent-{number:02}"))

    assert len(asyncio.run(ids(database))) == 41


@each_forking_kind
def test_commit_of_a_child_outlives_the_parents_connections(
    database: Database, place: Place
) -> None:
    # A child that believes in locks which only its parent holds would write to a file that the
    # parent, as the last one to leave, removes.
    asyncio.run(enqueue(database, "before"))
    child_is_open, parent_has_closed = Signal(), Signal()

    def work() -> None:
        asyncio.run(enqueue(database, "child-1"))
        child_is_open.give()
        parent_has_closed.wait()
        asyncio.run(enqueue(database, "child-2"))
        asyncio.run(database.close())

    with forked(work):
        child_is_open.wait()
        asyncio.run(database.close())
        parent_has_closed.give()

    assert asyncio.run(ids(place.open())) == ["before", "child-1", "child-2"]


@each_forking_kind
def test_fork_amid_statements_of_other_threads(database: Database) -> None:
    stop = threading.Event()

    def enqueue_until_stopped(thread: int) -> int:
        number = 0
        while not stop.is_set():
            asyncio.run(enqueue(database, f"{thread}-{number:06}"))
            number += 1
        return number

    def work() -> None:
        for number in range(5):
            asyncio.run(enqueue(database, f"child-{number}"))
        asyncio.run(database.close())

    with ThreadPoolExecutor(3) as pool:
        busy = [pool.submit(enqueue_until_stopped, thread) for thread in range(3)]
        try:
            with forked(work):
                pass
        finally:
            stop.set()
        enqueued = sum(thread.result() for thread in busy)

    counts = asyncio.run(Store(database).counts())
    assert sum(count.count for count in counts) == enqueued + 5


@each_forking_kind
def test_waiting_for_changes_goes_on_in_parent_and_child(database: Database) -> None:
    asyncio.run(database.wait_for_change(0))

    def work() -> None:
        asyncio.run(database.wait_for_change(0))
        asyncio.run(enqueue(database, "child"))
        asyncio.run(database.close())

    with forked(work):
        asyncio.run(database.wait_for_change(5))
    asyncio.run(database.wait_for_change(0))

    assert asyncio.run(ids(database)) == ["child"]
