"""A unique key: at most one live job of a name has it."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from server_jobs.database import Database
from server_jobs.records.outcomes import Abandoned, Completed, Failed, Released
from server_jobs.store.store import Store
from tests.support.databases.kinds import Place, each_shared_kind
from tests.support.scene import Scene, error, new_job

KEY = "order-17"


async def test_second_enqueue_gets_the_live_jobs_id(scene: Scene) -> None:
    first = await scene.pending(unique_key=KEY, params='{"n": 1}')

    assert await scene.pending(unique_key=KEY, params='{"n": 2}') == first

    (only,) = await scene.store.list_jobs()
    assert (only.id, only.params) == (first, '{"n": 1}')


async def test_running_job_holds_its_key(scene: Scene) -> None:
    claim = await scene.running(unique_key=KEY)

    assert await scene.pending(unique_key=KEY) == claim.job_id


async def test_delayed_job_holds_its_key(scene: Scene) -> None:
    job_id = await scene.pending(unique_key=KEY, delay_seconds=3_600)

    assert await scene.pending(unique_key=KEY) == job_id


async def test_other_job_name_has_keys_of_its_own(scene: Scene) -> None:
    first = await scene.pending(unique_key=KEY)
    other = await scene.pending(unique_key=KEY, job_name="Part")

    assert other != first
    assert len(await scene.store.list_jobs()) == 2


async def test_key_is_the_same_in_every_queue(scene: Scene) -> None:
    first = await scene.pending(unique_key=KEY, queue="a")

    assert await scene.pending(unique_key=KEY, queue="b") == first


async def test_jobs_without_a_key_dont_collide(scene: Scene) -> None:
    assert await scene.pending() != await scene.pending()


async def test_two_in_one_call_are_one_job(scene: Scene) -> None:
    new = [new_job(unique_key=KEY), new_job(), new_job(unique_key=KEY), new_job(unique_key="b")]

    ids = await scene.store.enqueue(new)

    assert ids == [new[0].id, new[1].id, new[0].id, new[3].id]
    assert len(await scene.store.list_jobs()) == 3


async def test_many_keyed_jobs_across_statements_keep_their_order(scene: Scene) -> None:
    held = await scene.pending(unique_key="key-1500")
    new = [new_job(unique_key=f"key-{number}") for number in range(2_200)]

    ids = await scene.store.enqueue(new)

    expected = [job.id for job in new]
    expected[1_500] = held
    assert ids == expected


async def test_taken_key_leaves_the_other_jobs_of_the_call_in(scene: Scene) -> None:
    held = await scene.pending(unique_key=KEY)
    free = new_job(unique_key="free")

    assert await scene.store.enqueue([new_job(unique_key=KEY), free]) == [held, free.id]


@pytest.mark.parametrize(
    "outcome",
    [Completed("null"), Failed(error(), permanent=True), Abandoned("asked to")],
    ids=["completed", "failed", "cancelled"],
)
async def test_finished_job_frees_its_key(
    scene: Scene, outcome: Completed | Failed | Abandoned
) -> None:
    claim = await scene.running(unique_key=KEY)
    await scene.settle(claim, outcome)

    again = new_job(unique_key=KEY)
    assert await scene.store.enqueue([again]) == [again.id]


async def test_cancelled_while_pending_frees_its_key(scene: Scene) -> None:
    await scene.store.cancel(await scene.pending(unique_key=KEY))

    again = new_job(unique_key=KEY)
    assert await scene.store.enqueue([again]) == [again.id]


@pytest.mark.parametrize(
    "outcome",
    [Failed(error(), delay_seconds=60), Released("shutdown")],
    ids=["failed", "released"],
)
async def test_job_that_goes_round_again_keeps_its_key(
    scene: Scene, outcome: Failed | Released
) -> None:
    claim = await scene.running(unique_key=KEY)
    await scene.settle(claim, outcome)

    assert await scene.pending(unique_key=KEY) == claim.job_id


async def test_cancel_request_alone_doesnt_free_the_key(scene: Scene) -> None:
    # The handler may still be at work; two at once is what the key forbids.
    claim = await scene.running(unique_key=KEY)
    await scene.store.cancel(claim.job_id)

    assert await scene.pending(unique_key=KEY) == claim.job_id


async def test_enqueuing_again_after_the_job_has_ended_gives_its_id(scene: Scene) -> None:
    # The answer was lost, and a worker was quick: the row is there, and nothing holds the key.
    new = new_job(unique_key=KEY)
    await scene.store.enqueue([new])
    (job,) = await scene.claim()
    await scene.settle(job.claim, Completed("null"))

    assert await scene.store.enqueue([new]) == [new.id]
    assert len(await scene.store.list_jobs()) == 1


@each_shared_kind
def test_enqueues_at_once_from_many_threads_make_one_job(database: Database, place: Place) -> None:
    threads = 8
    stores = [Store(place.open()) for _ in range(threads)]
    at_once = threading.Barrier(threads)

    def enqueue(store: Store) -> list[str]:
        at_once.wait()
        return [
            asyncio.run(store.enqueue([new_job(unique_key=f"key-{number}")]))[0]
            for number in range(10)
        ]

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(enqueue, stores))

    jobs = asyncio.run(Store(database).list_jobs(limit=1_000))
    by_key = {job.unique_key: job.id for job in jobs}
    assert len(jobs) == 10
    assert answers == [[by_key[f"key-{number}"] for number in range(10)]] * threads


@each_shared_kind
def test_crossing_batches_of_the_same_keys_dont_block_each_other(
    database: Database, place: Place
) -> None:
    # Two that insert the same keys in opposite orders wait for one another; one must give way.
    stores = [Store(place.open()) for _ in range(4)]
    at_once = threading.Barrier(len(stores))
    keys = [f"key-{number}" for number in range(40)]

    def enqueue(number: int) -> list[str]:
        order = keys if number % 2 else keys[::-1]
        at_once.wait()
        return asyncio.run(stores[number].enqueue([new_job(unique_key=key) for key in order]))

    with ThreadPoolExecutor(len(stores)) as pool:
        answers = list(pool.map(enqueue, range(len(stores))))

    assert len(asyncio.run(Store(database).list_jobs(limit=1_000))) == len(keys)
    assert len({frozenset(answer) for answer in answers}) == 1
