"""Several claimers at once, each with a ``Database`` object of its own."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from server_jobs.database import Database
from server_jobs.records.outcomes import Completed
from server_jobs.store.store import Store
from tests.support.databases.kinds import Place, each_shared_kind
from tests.support.scene import claim_of, new_job

CLAIMERS = 8
JOBS = 500


@each_shared_kind
def test_no_job_is_claimed_twice(database: Database, place: Place) -> None:
    new = [new_job() for _ in range(JOBS)]
    asyncio.run(Store(database).enqueue(new))
    at_once = threading.Barrier(CLAIMERS)

    def claim_until_empty(number: int) -> list[str]:
        store = Store(place.open())
        claimed: list[str] = []
        at_once.wait()
        while jobs := asyncio.run(store.claim(claim_of(7, worker_id=f"worker-{number}"))):
            claimed += [job.id for job in jobs]
            assert {job.worker_id for job in jobs} == {f"worker-{number}"}
            assert {job.fence for job in jobs} == {1}
        return claimed

    with ThreadPoolExecutor(CLAIMERS) as pool:
        claims = list(pool.map(claim_until_empty, range(CLAIMERS)))

    times_claimed = Counter(job_id for claimed in claims for job_id in claimed)
    assert times_claimed == Counter(job.id for job in new)
    assert sum(1 for claimed in claims if claimed) > 1, "one claimer was alone; nothing was tested"


@each_shared_kind
def test_settling_and_claiming_at_once_completes_every_job_once(
    database: Database, place: Place
) -> None:
    new = [new_job() for _ in range(200)]
    asyncio.run(Store(database).enqueue(new))
    at_once = threading.Barrier(4)

    def work(number: int) -> Counter[str]:
        store = Store(place.open())
        completed: Counter[str] = Counter()
        claim = claim_of(9, worker_id=f"worker-{number}")
        at_once.wait()
        _, jobs = asyncio.run(store.settle_and_claim({}, claim))
        while jobs:
            outcomes = {job.claim: Completed("null") for job in jobs}
            settled, jobs = asyncio.run(store.settle_and_claim(outcomes, claim))
            completed.update(settled.keys())
        return completed

    with ThreadPoolExecutor(4) as pool:
        completed = sum(pool.map(work, range(4)), Counter[str]())

    assert completed == Counter(job.id for job in new)


@each_shared_kind
def test_one_job_by_its_id_goes_to_one_claimer(database: Database, place: Place) -> None:
    new = new_job()
    asyncio.run(Store(database).enqueue([new]))
    stores = [Store(place.open()) for _ in range(4)]
    at_once = threading.Barrier(len(stores))

    def claim(store: Store) -> bool:
        at_once.wait()
        return asyncio.run(store.claim_one(new.id, worker_id="w", lease_seconds=60)) is not None

    with ThreadPoolExecutor(len(stores)) as pool:
        won = list(pool.map(claim, stores))

    assert sorted(won) == [False, False, False, True]


@each_shared_kind
def test_one_pod_of_a_launch_starts_it(database: Database, place: Place) -> None:
    store = Store(database)
    asyncio.run(store.enqueue([new_job()]))
    (job,) = asyncio.run(store.claim(claim_of(starting=False)))
    stores = [Store(place.open()) for _ in range(4)]
    at_once = threading.Barrier(len(stores))

    def start(number: int) -> bool:
        at_once.wait()
        return (
            asyncio.run(
                stores[number].start(job.claim, worker_id=f"pod-{number}", lease_seconds=60)
            )
            is not None
        )

    with ThreadPoolExecutor(len(stores)) as pool:
        won = list(pool.map(start, range(len(stores))))

    assert sum(won) == 1
    record = asyncio.run(store.get(job.id))
    assert record.worker_id == f"pod-{won.index(True)}"
