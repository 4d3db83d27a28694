"""A day at work: jobs of every kind, the workers that do them, and what must hold in the end."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import bindparam

from server_jobs import JobContext, JobStatus, RetryPolicy, define_job
from server_jobs.database import Database
from server_jobs.records.requests import ClaimRequest
from server_jobs.sql.column_types import UtcDateTime
from server_jobs.store.store import Store
from server_jobs.worker import LocalWorker
from tests.support.databases.endings import recorded_endings
from tests.support.databases.scripted import Incident, ScriptedDatabase
from tests.support.workers import Number, make_worker, registry_of, until

AT_ONCE = RetryPolicy.fixed(0)

_LONG_ENOUGH_SECONDS = 5.0
"""What a worker does now and then, it does within this, if at all."""


class Crew:
    """Workers, one after the other, on a database that the script breaks.

    The first one is stopped once only the patient jobs are left, which wait for that; those after
    it do what it left. Every handler notes its job and fence, and returns its fence.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._store = Store(database)
        self._worker: LocalWorker | None = None
        self._stopped_once = False
        self.effects: Counter[tuple[str, int]] = Counter()
        self.attempts: dict[str, int] = {}
        """For each job the attempts that it needs if no worker dies."""
        self.doomed: list[str] = []
        self._define_jobs()

    def _define_jobs(self) -> None:
        @define_job(name="Note", max_attempts=9, retry_policy=AT_ONCE)
        async def note(params: Number, context: JobContext) -> int:
            return self._note(context)

        @define_job(name="Plain", max_attempts=9, retry_policy=AT_ONCE)
        def plain(params: Number, context: JobContext) -> int:
            return self._note(context)

        @define_job(name="Slow", max_attempts=9, retry_policy=AT_ONCE)
        async def slow(params: Number, context: JobContext) -> int:
            fence = self._note(context)
            await context.update_progress(50, "half-way")
            await asyncio.sleep(0.1)
            return fence

        @define_job(name="Flaky", max_attempts=9, retry_policy=AT_ONCE)
        async def flaky(params: Number, context: JobContext) -> int:
            fence = self._note(context)
            if context.attempt == 1:
                raise ValueError("the first attempt fails")
            return fence

        @define_job(name="Patient", max_attempts=9, retry_policy=AT_ONCE)
        async def patient(params: Number, context: JobContext) -> int:
            fence = self._note(context)
            if not self._stopped_once:
                await asyncio.Event().wait()
            return fence

        @define_job(name="Doomed", max_attempts=1)
        async def doomed(params: Number, context: JobContext) -> int:
            self._note(context)
            raise ValueError("it always fails")

        self.note, self.plain, self.slow, self.flaky = note, plain, slow, flaky
        self.patience, self.doom = patient, doomed
        self._registry = registry_of(self._database, note, plain, slow, flaky, patient, doomed)

    def _note(self, context: JobContext) -> int:
        assert self._worker is not None
        held = self._worker.leases.get(str(context.job_id))
        assert held is not None
        self.effects[held.claim.job_id, held.claim.fence] += 1
        return held.claim.fence

    async def enqueue(self) -> None:
        """Two of each: due now, due soon, and left by a worker that died."""
        two = [Number(n=1), Number(n=2)]
        await self.note.later_many(two)
        left = await self._store.claim(
            ClaimRequest("default", ["Note"], 2, "dead", lease_seconds=0.001)
        )
        self.attempts = {job.id: 2 for job in left}
        for job, attempts in ((self.note, 1), (self.plain, 1), (self.slow, 1), (self.flaky, 2)):
            self.attempts |= dict.fromkeys(await job.later_many(two), attempts)
        self.attempts |= dict.fromkeys(
            [await self.note.later(number, delay=0.05) for number in two], 1
        )
        self.attempts |= dict.fromkeys(await self.patience.later_many(two), 1)
        self.doomed = await self.doom.later_many(two)

    async def work(self, script: Sequence[Incident]) -> ScriptedDatabase:
        """Work until all has ended, one worker after the other → what the script came to."""
        database = ScriptedDatabase(self._database, script)
        while not await self._only_left():
            await self._work_as_one(database)
            self._stopped_once = True
            if database.dead:
                database.dead = False  # the next one is another process
                await self._let_leases_expire()
        await database.finish()
        return database

    async def _work_as_one(self, database: ScriptedDatabase) -> None:
        """The life of one worker, until it has nothing more to do, or dies."""
        worker = self._worker = make_worker(
            database, self._registry, concurrency=5, poll_interval=0.05, lease=300, grace=0
        )
        began = asyncio.get_running_loop().time()
        life = asyncio.create_task(worker.run_until_stopped())
        # Once: who cancels twice wants no answer, and the leases expire.
        database.cancel = lambda: life.cancelling() or life.cancel()
        try:

            async def nothing_to_do() -> bool:
                if life.done() or database.dead:
                    return True
                if database.busy or not await self._only_left(JobStatus.RUNNING):
                    return False
                # Patient jobs still run, so that what the script waits for can come.
                waits = not self._stopped_once and database.waits_for_the_clock
                return not waits or asyncio.get_running_loop().time() - began > _LONG_ENOUGH_SECONDS

            await until(nothing_to_do, "the worker has nothing more to do")
        finally:
            worker.stop()
            worker.stop()
            await asyncio.wait({life})
        if not life.cancelled():
            life.result()
        if not database.dead:
            await database.finish()
            left = await self._store.held_by(worker.worker_id)
            assert not left, "a worker that ended by itself left jobs behind"

    async def _only_left(self, *waiting: JobStatus) -> bool:
        """Whether all has ended, but for patient jobs that wait for the first worker's end."""
        counted: Counter[JobStatus] = Counter()
        for count in await self._store.counts():
            if count.job_name == "Patient" and count.status in waiting and not self._stopped_once:
                continue
            if not count.status.finished:
                counted[count.status] += count.count
        return not counted

    async def _let_leases_expire(self) -> None:
        later = await self._store.clock() + timedelta(hours=1)
        now = bindparam("now", later, type_=UtcDateTime())
        await Store(self._database, now=now).rescue()

    async def check(self, *, nobody_died: bool) -> None:
        """What holds whatever happened; and that nothing was spent, unless a worker died."""
        assert max(self.effects.values()) == 1, "a handler ran twice under one fence"
        assert sorted(await recorded_endings(self._database)) == sorted(self.attempts)
        for job_id, attempts in self.attempts.items():
            record = await self._store.get(job_id)
            assert record.status is JobStatus.COMPLETED
            assert record.result == str(record.fence), "another execution's result was recorded"
            assert (job_id, record.fence) in self.effects
            if nobody_died:
                assert record.attempt_count == attempts
            else:
                assert record.attempt_count >= attempts
        for job_id in self.doomed:
            record = await self._store.get(job_id)
            assert record.status is JobStatus.FAILED
            if nobody_died:  # a worker that died may have claimed its only attempt, and no more
                assert (job_id, record.fence) in self.effects
