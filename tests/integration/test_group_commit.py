"""The worker's commits when the connection breaks, and when the database refuses one of them."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from server_jobs import Job, JobContext, JobStatus, RetryPolicy, define_job
from server_jobs.database import Database
from server_jobs.errors import DatabaseError, DatabaseUnavailableError
from server_jobs.execution.group_commit import GroupCommit, Over
from server_jobs.records.outcomes import Completed
from server_jobs.records.requests import ClaimRequest
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store
from tests.support.databases.endings import record_endings, recorded_endings
from tests.support.databases.faulty import Fault, FaultyDatabase, claims, looks_up, settles
from tests.support.databases.raw_sql import break_down, mend, refuse
from tests.support.databases.scripted import Incident, Mishap, Point, ScriptedDatabase
from tests.support.workers import Number, drain, make_worker, registry_of, statuses, until, working

REFUSED = '"refused"'
"""A result that the databases of some tests don't take."""


@pytest.fixture
def faulty(database: Database) -> FaultyDatabase:
    return FaultyDatabase(database)


class Executions:
    """A job that all do at once: they wait for each other, so that one commit settles them."""

    def __init__(self, database: Database, together: int) -> None:
        self.counts: Counter[int] = Counter()
        self._together = together
        self._all_began = asyncio.Event()

        @define_job(name="Together", max_attempts=1)
        async def job(params: Number) -> str:
            self.counts[params.n] += 1
            if len(self.counts) >= self._together:
                self._all_began.set()
            await self._all_began.wait()
            return "refused" if params.n < 0 else "done"

        self.job: Job[Number, str] = job
        self.registry = registry_of(database, job)


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("broken", [claims, settles])
async def test_a_broken_commit_neither_loses_nor_repeats_anything(
    database: Database, faulty: FaultyDatabase, broken: object, fault: Fault
) -> None:
    executions = Executions(database, together=10)
    ids = await executions.job.later_many([Number(n=n) for n in range(10)])
    faulty.break_once(fault, when=claims if broken is claims else settles)

    totals = await drain(faulty, executions.registry, concurrency=10)

    assert faulty.faults == 1
    assert executions.counts == Counter(range(10))
    assert (totals.completed, totals.failed, totals.lost) == (10, 0, 0)
    for job_id in ids:
        record = await Store(database).get(job_id)
        assert (record.status, record.attempt_count) == (JobStatus.COMPLETED, 1)


async def test_what_was_found_settled_counts_although_the_connection_breaks_again(
    database: Database, faulty: FaultyDatabase
) -> None:
    executions = Executions(database, together=5)
    await executions.job.later_many([Number(n=n) for n in range(5)])
    looked_up = False

    def plan(statements: Sequence[Statement]) -> Fault | None:
        """Lose the answer of the first settlement; once it was looked up, break the next claim."""
        nonlocal looked_up
        if any(map(looks_up, statements)):
            looked_up = True
        elif looked_up and any(map(claims, statements)):
            faulty.plan = lambda statements: None
            return Fault.BEFORE
        elif not looked_up and any(map(settles, statements)):
            return Fault.AFTER
        return None

    faulty.plan = plan
    worker = make_worker(faulty, executions.registry, concurrency=5)
    async with working(worker):
        await until(lambda: worker.totals.completed == 5, "the five are counted")

    assert faulty.faults == 2
    assert worker.leases.all == []
    assert executions.counts == Counter(range(5))


async def test_a_rescue_is_not_taken_for_the_completion_whose_answer_was_lost(
    database: Database, faulty: FaultyDatabase, store: Store
) -> None:
    @define_job(name="Note", retry_policy=RetryPolicy.fixed(3_600))
    async def note(params: Number) -> None: ...

    note.set_database(database)
    job_id = await note.later(Number())
    (job,) = await store.claim(ClaimRequest("default", ["Note"], 1, "slow", 0.01))
    group = GroupCommit(Store(faulty))
    claim = job.claim
    group.add(claim, Completed('"done"'))
    faulty.break_once(Fault.BEFORE, when=settles)
    with pytest.raises(DatabaseUnavailableError):
        await group.commit(None)

    async def rescued() -> bool:
        return bool(await store.rescue())

    await until(rescued, "the job is rescued")

    # The rescued row is at the same fence, and no longer running.
    settled, _ = await group.commit(None)

    assert settled == {claim: Over(Completed('"done"'), None)}
    assert (await store.get(job_id)).status is JobStatus.PENDING


async def test_a_refused_outcome_fails_alone(database: Database, store: Store) -> None:
    await refuse(database, f"NEW.result = '{REFUSED}'")
    executions = Executions(database, together=11)
    good = await executions.job.later_many([Number(n=n) for n in range(10)])
    bad = await executions.job.later(Number(n=-1))

    totals = await drain(database, executions.registry, concurrency=11)

    assert (totals.completed, totals.failed, totals.lost) == (10, 1, 0)
    assert set(executions.counts.values()) == {1}
    for job_id in good:
        assert (await store.get(job_id)).status is JobStatus.COMPLETED
    record = await store.get(bad)
    assert record.status is JobStatus.FAILED
    assert "the outcome can't be stored" in str(record.error)
    assert "refused by the test" in str(record.error)


async def test_outcomes_wait_while_the_database_takes_none(
    database: Database, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await break_down(database, "NEW.status <> 'running'")
    executions = Executions(database, together=5)
    await executions.job.later_many([Number(n=n) for n in range(5)])
    worker = make_worker(database, executions.registry, concurrency=5)
    async with working(worker):
        await until(lambda: caplog.text.count("trying again in") >= 2, "it has tried twice")
        assert await statuses(store) == {JobStatus.RUNNING: 5}
        await mend(database)
        await until(lambda: worker.totals.completed == 5, "all are completed")

    assert executions.counts == Counter(range(5))
    assert await statuses(store) == {JobStatus.COMPLETED: 5}


async def test_an_outcome_that_waits_for_the_database_does_not_hold_up_the_others(
    database: Database, store: Store
) -> None:
    await break_down(database, f"NEW.result = '{REFUSED}'")
    executions = Executions(database, together=6)
    bad = await executions.job.later(Number(n=-1))  # the first to be asked for
    await executions.job.later_many([Number(n=n) for n in range(5)])
    worker = make_worker(database, executions.registry, concurrency=6)
    async with working(worker):

        async def others_are_completed() -> bool:
            return (await statuses(store)).get(JobStatus.COMPLETED) == 5

        await until(others_are_completed, "the others are completed")
        assert (await store.get(bad)).status is JobStatus.RUNNING
        await mend(database)
        await until(lambda: worker.totals.completed == 6, "all are completed")

    assert set(executions.counts.values()) == {1}


async def test_an_outcome_that_cannot_even_fail_leaves_its_lease_to_expire(
    database: Database, store: Store
) -> None:
    await refuse(database, f"NEW.result = '{REFUSED}' OR NEW.status = 'failed'")
    executions = Executions(database, together=4)
    good = await executions.job.later_many([Number(n=n) for n in range(3)])
    bad = await executions.job.later(Number(n=-1))

    totals = await drain(database, executions.registry, concurrency=4)

    assert (totals.completed, totals.lost) == (3, 1)
    for job_id in good:
        assert (await store.get(job_id)).status is JobStatus.COMPLETED
    assert (await store.get(bad)).status is JobStatus.RUNNING


async def test_a_refused_claim_is_not_held_against_what_ended_meanwhile(
    database: Database, faulty: FaultyDatabase, store: Store
) -> None:
    began, gate = asyncio.Event(), asyncio.Event()

    @define_job(name="Wait", max_attempts=1)
    async def wait(params: Number) -> None:
        began.set()
        await gate.wait()

    registry = registry_of(database, wait)
    first, second = await wait.later(Number()), await wait.later(Number())

    def plan(statements: Sequence[Statement]) -> Exception | None:
        """Refuse the first commit that settles and claims; what settles alone passes."""
        if any(map(settles, statements)) and any(map(claims, statements)):
            faulty.plan = lambda statements: None
            return DatabaseError("the test refuses this claim")
        return None

    faulty.plan = plan
    worker = make_worker(faulty, registry, concurrency=1)
    async with working(worker):
        await began.wait()
        gate.set()
        await until(lambda: worker.totals.completed == 2, "both are completed")

    assert faulty.faults == 1
    for job_id in (first, second):
        assert (await store.get(job_id)).status is JobStatus.COMPLETED


async def test_a_settlement_that_is_cancelled_after_a_refused_claim_is_looked_up(
    database: Database, store: Store
) -> None:
    @define_job(name="Note")
    async def note(params: Number) -> None: ...

    note.set_database(database)
    await note.later(Number())
    (job,) = await store.claim(ClaimRequest("default", ["Note"], 1, "cancelled", 60))
    refused, cancelled = (
        Incident(Point.CLAIM, Mishap.REFUSED),
        Incident(Point.SETTLE, Mishap.CANCELLED),
    )
    scripted = ScriptedDatabase(database, [refused, cancelled])
    group = GroupCommit(Store(scripted))
    group.add(job.claim, Completed('"done"'))
    commit = asyncio.create_task(
        group.commit(ClaimRequest("default", ["Note"], 1, "cancelled", 60))
    )
    scripted.cancel = commit.cancel
    with pytest.raises(asyncio.CancelledError):
        await commit
    await scripted.finish()

    settled, _ = await group.commit(None)

    assert scripted.happened == [refused, cancelled]
    assert settled == {job.claim: Over(Completed('"done"'), JobStatus.COMPLETED)}


async def test_claims_that_are_refused_for_good_are_not_asked_for_in_a_tight_loop(
    database: Database, faulty: FaultyDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    asked = 0

    def plan(statements: Sequence[Statement]) -> Exception | None:
        nonlocal asked
        if any(map(claims, statements)):
            asked += 1
            return DatabaseError("permission denied for table jobs")
        return None

    faulty.plan = plan
    executions = Executions(database, together=1)
    job_id = await executions.job.later(Number())
    worker = make_worker(faulty, executions.registry)
    async with working(worker):
        await until(lambda: asked >= 3, "it asks again")
        assert asked < 10
        assert "permission denied for table jobs" in caplog.text
        faulty.plan = lambda statements: None
        await until(lambda: worker.totals.completed == 1, "it works once it is let")

    assert (await Store(database).get(job_id)).status is JobStatus.COMPLETED


async def test_completions_keep_their_lease_until_they_are_durable(
    database: Database, faulty: FaultyDatabase, store: Store
) -> None:
    def plan(statements: Sequence[Statement]) -> Fault | None:
        return Fault.BEFORE if any(map(settles, statements)) else None

    faulty.plan = plan
    executions = Executions(database, together=5)
    ids = await executions.job.later_many([Number(n=n) for n in range(5)])
    worker = make_worker(faulty, executions.registry, lease=1.0)
    async with working(worker):
        await until(lambda: faulty.faults > 0, "a settlement was broken")
        first_leases = [(await store.get(job_id)).worker_expires_at for job_id in ids]

        async def leases_are_over() -> bool:
            assert await store.rescue() == {}
            now = await store.clock()
            return all(expires_at is not None and now > expires_at for expires_at in first_leases)

        await until(leases_are_over, "more time has passed than the first leases had")
        faulty.plan = lambda statements: None
        await until(lambda: worker.totals.completed == 5, "all are completed")

    assert executions.counts == Counter(range(5))
    for job_id in ids:
        record = await store.get(job_id)
        assert (record.status, record.attempt_count) == (JobStatus.COMPLETED, 1)


async def test_a_claim_without_an_answer_is_given_back_even_when_stopping(
    database: Database, faulty: FaultyDatabase, store: Store
) -> None:
    executions = Executions(database, together=1)
    job_id = await executions.job.later(Number())
    worker = make_worker(faulty, executions.registry)

    def plan(statements: Sequence[Statement]) -> Fault | None:
        if not any(map(claims, statements)):
            return None
        worker.stop()
        return Fault.AFTER

    faulty.plan = plan
    async with asyncio.timeout(20):
        await worker.run_until_stopped()

    record = await store.get(job_id)
    assert (record.status, record.attempt_count) == (JobStatus.PENDING, 0)
    assert not executions.counts


async def test_a_claim_that_committed_late_is_given_back_by_a_worker_that_stops(
    database: Database, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It asks by itself.
    monkeypatch.setattr("server_jobs.backend.upkeep.MAINTENANCE_SECONDS", 3_600)
    executions = Executions(database, together=1)
    job_id = await executions.job.later(Number())
    scripted = ScriptedDatabase(database, [Incident(Point.CLAIM, Mishap.LATE)])
    worker = make_worker(scripted, executions.registry)
    async with working(worker):
        await until(lambda: bool(scripted.happened) and not scripted.busy, "it has committed")

    record = await store.get(job_id)
    assert (record.status, record.attempt_count) == (JobStatus.PENDING, 0)
    assert not executions.counts


@pytest.mark.parametrize("seed", [1, 3])
async def test_every_completion_is_accepted_once_whatever_breaks_when(
    database: Database, faulty: FaultyDatabase, store: Store, seed: int
) -> None:
    await record_endings(database)
    executed: Counter[int] = Counter()

    @define_job(name="Note", max_attempts=2, retry_policy=RetryPolicy.fixed(0))
    async def note(params: Number, context: JobContext) -> None:
        executed[params.n] += 1
        await context.update_progress(50)
        if params.n % 10 == 0 and context.attempt == 1:
            raise ValueError("every tenth fails once")

    registry = registry_of(database, note)
    ids = await note.later_many([Number(n=n) for n in range(300)])
    dice = random.Random(seed)

    def plan(statements: Sequence[Statement]) -> Fault | None:
        # After each in a row the worker waits for twice as long: with more, it does little else.
        return dice.choice(list(Fault)) if dice.random() < 0.1 else None

    worker = make_worker(faulty, registry, concurrency=5, poll_interval=0.05)
    faulty.break_once(Fault.BEFORE, when=claims)  # not yet while it starts
    async with working(worker):
        await until(lambda: faulty.faults > 0, "it has started")
        faulty.plan = plan

        async def all_completed() -> bool:
            return await statuses(store) == {JobStatus.COMPLETED: 300}

        await until(all_completed, "all jobs are completed")
        faulty.plan = lambda statements: None

    print(f"seed {seed}: {faulty.faults} faults, {worker.totals}")
    assert faulty.faults > 5
    assert executed == Counter(range(300)) + Counter(range(0, 300, 10))
    assert sorted(await recorded_endings(database)) == sorted(ids)
    assert worker.totals.completed == 300
    assert worker.totals.lost <= 30  # a failed attempt that was claimed again can't be looked up
