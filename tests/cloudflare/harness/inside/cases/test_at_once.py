"""Many calls at once: two connections, and every job claimed once."""

import asyncio
from collections import Counter
from typing import Any

from sqlalchemy import text

from server_jobs.records.outcomes import Completed
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store
from server_jobs_cloudflare.d1 import D1Database
from tests.support.databases.kinds import Place
from tests.support.scene import claim_of, new_job

ONE = Statement(text("SELECT 1 AS n"))


class CountingBinding:
    """Passes everything on to a real binding, and counts the calls that are under way."""

    def __init__(self, binding: Any) -> None:
        self._real = binding
        self.now = self.most = 0

    def prepare(self, sql: str) -> Any:
        return CountingStatement(self, self._real.prepare(sql))


class CountingStatement:
    def __init__(self, binding: CountingBinding, statement: Any) -> None:
        self._binding, self._statement = binding, statement

    async def all(self) -> Any:
        self._binding.now += 1
        self._binding.most = max(self._binding.most, self._binding.now)
        try:
            return await self._statement.all()
        finally:
            self._binding.now -= 1


async def test_driver_takes_two_connections_however_much_is_asked(database: D1Database) -> None:
    binding = CountingBinding(database._binding)
    counted = D1Database(binding)

    answers = await asyncio.gather(*(counted.execute(ONE) for _ in range(20)))

    assert answers == [[(1,)]] * 20
    assert binding.most == 2


async def test_no_job_is_claimed_or_completed_twice(database: D1Database, place: Place) -> None:
    new = [new_job() for _ in range(300)]
    await Store(database).enqueue(new)

    async def work(number: int) -> Counter[str]:
        store = Store(place.open())
        completed: Counter[str] = Counter()
        claim = claim_of(7, worker_id=f"worker-{number}")
        _, jobs = await store.settle_and_claim({}, claim)
        while jobs:
            assert {job.fence for job in jobs} == {1}
            outcomes = {job.claim: Completed("null") for job in jobs}
            settled, jobs = await store.settle_and_claim(outcomes, claim)
            completed.update(settled.keys())
        return completed

    # Three workers of two connections each: more the harness doesn't allow.
    completed = await asyncio.gather(*(work(number) for number in range(3)))

    assert sum(completed, Counter[str]()) == Counter(job.id for job in new)
    assert sum(1 for each in completed if each) > 1, "one was alone; nothing was tested"


async def test_one_job_by_its_id_goes_to_one_claimer(database: D1Database, place: Place) -> None:
    new = new_job()
    await Store(database).enqueue([new])
    stores = [Store(place.open()) for _ in range(3)]

    won = await asyncio.gather(
        *(store.claim_one(new.id, worker_id="w", lease_seconds=60) for store in stores)
    )

    assert sum(claimed is not None for claimed in won) == 1


async def test_enqueues_at_once_of_one_key_make_one_job(database: D1Database, place: Place) -> None:
    stores = [Store(place.open()) for _ in range(3)]

    ids = await asyncio.gather(*(store.enqueue([new_job(unique_key="key")]) for store in stores))

    assert len({job_id for (job_id,) in ids}) == 1
