"""The store against a model: whatever happens, in whatever order, each row is as the model says.

Workers here are only ids and the leases that they were given. A lease is never forgotten, so a
worker that was paused for an hour is one that settles with an old lease: every write is tried by
those who hold the job and by those who once did.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any, TypeVar

import pytest
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select

from server_jobs.database import Database, connect
from server_jobs.errors import JobNotFoundError, JobNotRetryableError
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.outcomes import (
    Abandoned,
    Completed,
    Disrupted,
    Failed,
    LaunchLost,
    Outcome,
    Postponed,
    Progress,
    Released,
    Withdrawn,
)
from server_jobs.records.requests import ClaimRequest, Prunable
from server_jobs.records.rows import Claim, ClaimedJob, NewJob
from server_jobs.records.status import JobStatus
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store
from tests.support.clock import Clock
from tests.support.databases.interrupted import InterruptedDatabase
from tests.support.databases.kinds import create_tables
from tests.support.drills.job_model import Model, ModelJob, Step

T = TypeVar("T")
S = TypeVar("S")
Row = dict[str, Any]


BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """A database of its own, and what the machine needs to act on it."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    database: InterruptedDatabase
    clock: Clock
    store: Store
    all_rows: Statement


@contextmanager
def world(url: str) -> Iterator[World]:
    with asyncio.Runner() as runner:
        plain: Database = connect(url)
        try:
            runner.run(create_tables(plain))
            database, clock = InterruptedDatabase(plain), Clock()
            yield World(
                run=runner.run,
                database=database,
                clock=clock,
                store=Store(database, now=clock.expression),
                all_rows=Statement(select(plain.tables.jobs)),
            )
        finally:
            runner.run(plain.close())


# ── what rules choose from ───────────────────────────────────────────────────────────────────

WORKERS = st.sampled_from(["worker-1", "worker-2", "worker-3"])
PODS = st.sampled_from(["pod-1", "pod-2"])
NAMES = st.sampled_from(["Greet", "Count"])
QUEUES = st.sampled_from(["default", "default", "default", "mail"])
LEASE_SECONDS = st.sampled_from([10.0, 60.0])
DELAYS = st.sampled_from([0.0, 20.0])
BUDGETS = st.sampled_from([1, 2, 10])
BACKOFF_BASES = st.sampled_from([0.0, 4.0])

NEW_JOBS = st.fixed_dictionaries(
    {
        "job_name": NAMES,
        "queue": QUEUES,
        "priority": st.sampled_from([0, 0, 5, -5]),
        "max_attempts": st.integers(1, 3),
        "unique_key": st.sampled_from([None, None, "a", "b"]),
        "delay_seconds": DELAYS,
        "due_in": st.sampled_from([None, None, -20, 0, 20]),
    }
)
CLAIMS = st.builds(
    ClaimRequest,
    queue=QUEUES,
    job_names=st.sampled_from([("Greet", "Count"), ("Greet", "Count"), ("Greet",)]),
    limit=st.integers(1, 3),
    worker_id=WORKERS,
    lease_seconds=LEASE_SECONDS,
    starting=st.booleans(),
)
ERRORS = st.builds(
    AttemptError,
    attempt=st.integers(1, 3),
    at=st.none(),
    type=st.just("ValueError"),
    message=st.sampled_from(["boom", "it's “broken” \\ \n"]),
    traceback=st.just("Traceback …"),
    worker=WORKERS,
)
PROGRESS = st.tuples(st.sampled_from([0.0, 12.5, 100.0]), st.sampled_from([None, "half-way"]))
COMPLETIONS = st.builds(
    Completed,
    result=st.sampled_from(['{"n": 1}', "null"]),
    message=st.sampled_from([None, "done"]),
)
FAILURES = st.builds(
    Failed,
    error=ERRORS,
    permanent=st.sampled_from([False, False, True]),
    delay_seconds=DELAYS,
)
RETURNS = st.one_of(
    st.builds(Released, reason=st.just("shutting down"), max_releases=st.sampled_from([0, 1, 10])),
    st.builds(Postponed, reason=st.just("not yet"), delay_seconds=DELAYS),
)
LOST_LAUNCHES = st.builds(
    LaunchLost, error=ERRORS, delay_seconds=DELAYS, max_failures=BUDGETS
) | st.builds(Withdrawn, reason=st.just("no room"), delay_seconds=DELAYS)
DISRUPTIONS = st.builds(Disrupted, error=ERRORS, delay_seconds=DELAYS, max_disruptions=BUDGETS)
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    COMPLETIONS,
    FAILURES,
    RETURNS,
    LOST_LAUNCHES,
    DISRUPTIONS,
    st.builds(Abandoned, reason=st.just("cancelled")),
)


def one_of_the(choices: "Callable[[StoreMachine], list[T]]") -> st.SearchStrategy[T]:
    """One of what the machine has at that moment."""
    return st.runner().flatmap(lambda machine: st.sampled_from(choices(machine)))


def for_several_leases(values: st.SearchStrategy[S]) -> st.SearchStrategy[dict[Claim, S]]:
    """Values for leases of which some are held and some have been lost."""
    return st.runner().flatmap(
        lambda machine: st.dictionaries(
            st.sampled_from(machine.held_claims() or machine.claims)
            | st.sampled_from(machine.claims),
            values,
            min_size=1,
            max_size=5,
        )
    )


some_job = precondition(lambda machine: machine.enqueued)
some_claim = precondition(lambda machine: machine.claims)
some_holder = precondition(lambda machine: machine.held_claims())
some_unstarted = precondition(lambda machine: machine.unstarted_claims())
some_claimable = precondition(lambda machine: machine.model.claimable())
some_freed_key = precondition(lambda machine: machine.model.freed_keys())
some_expired = precondition(lambda machine: machine.model.expired())


class StoreMachine(RuleBasedStateMachine):
    """Does the same to the store and to the model, and compares."""

    def __init__(self, world: World, steps: set[Step]) -> None:
        super().__init__()
        self.world = world
        self.store = world.store
        self.run = world.run
        world.clock.value = BEGINNING
        self.model = Model(BEGINNING, steps)
        self.numbers = count(1)
        self.claims: list[Claim] = []
        self.new: dict[str, NewJob] = {}
        self.enqueued: list[str] = []
        self.pruned: set[str] = set()
        self.completions: Counter[str] = Counter()
        self.claimed: Counter[str] = Counter()
        self.rows: dict[str, Row] = {}
        self.latest = BEGINNING
        self.run(world.database.execute(Statement(delete(world.database.tables.jobs))))

    def held_claims(self) -> list[Claim]:
        return [job.claim for job in self.model.running()]

    def unstarted_claims(self) -> list[Claim]:
        return [job.claim for job in self.model.running() if job.handler_started_at is None]

    def repeatable(self) -> list[NewJob]:
        return [self.new[job_id] for job_id in self.model.jobs if job_id in self.new]

    @initialize(options=st.lists(NEW_JOBS, min_size=4, max_size=6), backoff_base=BACKOFF_BASES)
    def begin_with_work(self, options: list[dict[str, Any]], backoff_base: float) -> None:
        """Hypothesis leaves rules out of whole runs: one without jobs would be wasted."""
        self._enqueue(options, backoff_base)
        self._insert_by_hand("Greet", "default", due_in=-20, worn="launch_failures")
        for starting in (True, False):
            claim = ClaimRequest("default", ["Greet", "Count"], 1, "worker-1", 10.0, starting)
            self._claim(claim)

    # ── enqueue ──────────────────────────────────────────────────────────────────────────────

    @rule(options=st.lists(NEW_JOBS, min_size=1, max_size=3), backoff_base=BACKOFF_BASES)
    def enqueue(self, options: list[dict[str, Any]], backoff_base: float) -> None:
        self._enqueue(options, backoff_base)

    def _enqueue(self, options: list[dict[str, Any]], backoff_base: float) -> None:
        policy = (
            f'{{"base_seconds": {backoff_base}, "factor": 2, "max_seconds": 60, "jitter": false}}'
        )
        new = []
        for chosen in options:
            due_in = chosen.pop("due_in")
            due = None if due_in is None else self.model.now + timedelta(seconds=due_in)
            job = NewJob(
                self._new_id(), params="{}", scheduled_for=due, retry_policy=policy, **chosen
            )
            new.append(job)
        expected = self.model.enqueue(new, backoff_base)
        assert self.run(self.store.enqueue(new)) == expected
        for job in new:
            if job.id in self.model.jobs:
                self.enqueued.append(job.id)
                self.new[job.id] = job

    @some_freed_key
    @rule(ended=one_of_the(lambda machine: machine.model.freed_keys()), options=NEW_JOBS)
    def enqueue_under_a_freed_key(self, ended: ModelJob, options: dict[str, Any]) -> None:
        taken = {"job_name": ended.job_name, "unique_key": ended.unique_key}
        self._enqueue([options | taken], 0.0)

    @precondition(lambda machine: machine.repeatable())
    @rule(new=one_of_the(lambda machine: machine.repeatable()))
    def enqueue_again_since_the_answer_was_lost(self, new: NewJob) -> None:
        assert self.run(self.store.enqueue([new])) == self.model.enqueue([new], None)

    @rule(job_name=NAMES, queue=QUEUES, worker_id=WORKERS, lease_seconds=LEASE_SECONDS)
    def insert_running(
        self, job_name: str, queue: str, worker_id: str, lease_seconds: float
    ) -> None:
        new = NewJob(self._new_id(), job_name, params="{}", queue=queue)
        claimed = self.run(
            self.store.insert_running(new, worker_id=worker_id, lease_seconds=lease_seconds)
        )
        job = self.model.insert_running(new, worker_id, lease_seconds, claimed.scheduled_for)
        self.enqueued.append(new.id)
        self._given([claimed], [job])

    @rule(
        job_name=NAMES,
        queue=QUEUES,
        due_in=st.sampled_from([-20, 20]),
        worn=st.sampled_from(["launch_failures", "release_count", "disruptions"]),
    )
    def insert_by_hand(self, job_name: str, queue: str, due_in: int, worn: str) -> None:
        self._insert_by_hand(job_name, queue, due_in, worn)

    def _insert_by_hand(self, job_name: str, queue: str, due_in: int, worn: str) -> None:
        """A row that another program wrote: one budget nearly spent, its errors up to the limit."""
        job = ModelJob(
            self._new_id(),
            job_name,
            queue,
            scheduled_for=self.model.now + timedelta(seconds=due_in),
            ready=False,
            errors=[(1, BEGINNING, "OldError", f"number {number}") for number in range(20)],
        )
        setattr(job, worn, 9)
        errors = [
            {"attempt": attempt, "at": at.isoformat(), "type": type_, "message": message}
            for attempt, at, type_, message in job.errors
        ]
        names = ("id", "job_name", "queue", "scheduled_for", worn)
        values = {name: getattr(job, name) for name in names} | {"errors": json.dumps(errors)}
        insert = self.world.database.tables.jobs.insert().values(values)
        self.run(self.world.database.execute(Statement(insert)))
        self.model.insert_by_hand(job)
        self.enqueued.append(job.id)

    def _new_id(self) -> str:
        return f"job-{next(self.numbers):04}"

    # ── claim, start, hold ───────────────────────────────────────────────────────────────────

    @some_claimable
    @rule(
        job=one_of_the(lambda machine: machine.model.claimable()),
        limit=st.integers(1, 3),
        worker_id=WORKERS,
        lease_seconds=LEASE_SECONDS,
        starting=st.booleans(),
    )
    def claim_what_is_there(
        self, job: ModelJob, limit: int, worker_id: str, lease_seconds: float, starting: bool
    ) -> None:
        """A worker that serves the queue and knows the job."""
        self._claim(
            ClaimRequest(job.queue, [job.job_name], limit, worker_id, lease_seconds, starting)
        )

    @rule(claim=CLAIMS)
    def claim(self, claim: ClaimRequest) -> None:
        self._claim(claim)

    def _claim(self, claim: ClaimRequest) -> None:
        before = self._read()
        claimed = self.run(self.store.claim(claim))
        self._given(claimed, self.model.claim(claim))
        for job in claimed:
            row = before[job.id]
            assert row["status"] == JobStatus.PENDING
            assert row["ready"]
            assert row["worker_expires_at"] is None
            # The clock may have been set back since it was due.
            assert row["scheduled_for"] <= self.latest

    @some_job
    @rule(
        job_id=one_of_the(lambda machine: machine.enqueued),
        worker_id=WORKERS,
        lease_seconds=LEASE_SECONDS,
    )
    def claim_one(self, job_id: str, worker_id: str, lease_seconds: float) -> None:
        claimed = self.run(
            self.store.claim_one(job_id, worker_id=worker_id, lease_seconds=lease_seconds)
        )
        expected = self.model.claim_one(job_id, worker_id, lease_seconds)
        self._given([claimed] if claimed else [], [expected] if expected else [])

    def _given(self, claimed: list[ClaimedJob], expected: list[ModelJob]) -> None:
        assert [_told(job) for job in claimed] == [_told(job) for job in expected]
        self.claims += [job.claim for job in claimed]
        self.claimed.update(job.id for job in claimed)

    @some_claim
    @rule(
        claim=one_of_the(lambda machine: machine.unstarted_claims() or machine.claims),
        pod=PODS,
        lease_seconds=LEASE_SECONDS,
    )
    def start_in_two_pods(self, claim: Claim, pod: str, lease_seconds: float) -> None:
        """A launch may bring up two pods: the second one is refused. The first may ask again."""
        for worker_id in (pod, pod, f"{pod} again"):
            started = self.run(
                self.store.start(claim, worker_id=worker_id, lease_seconds=lease_seconds)
            )
            expected = self.model.start(claim, worker_id, lease_seconds)
            assert (started and _told(started)) == (expected and _told(expected))

    @some_claim
    @rule(claim=one_of_the(lambda machine: machine.claims), lease_seconds=LEASE_SECONDS)
    def start_late(self, claim: Claim, lease_seconds: float) -> None:
        started = self.run(
            self.store.start(claim, worker_id="late pod", lease_seconds=lease_seconds)
        )
        expected = self.model.start(claim, "late pod", lease_seconds)
        assert (started and _told(started)) == (expected and _told(expected))

    @some_claim
    @rule(beats=for_several_leases(st.none()), lease_seconds=LEASE_SECONDS)
    def heartbeat(self, beats: dict[Claim, None], lease_seconds: float) -> None:
        self.run(self._heartbeat(list(beats), lease_seconds))

    async def _heartbeat(self, claims: list[Claim], lease_seconds: float) -> None:
        answer = await self.store.heartbeat(claims, lease_seconds=lease_seconds)
        assert answer == self.model.heartbeat(claims, lease_seconds)

    @some_claim
    @rule(reports=for_several_leases(PROGRESS))
    def report_progress(self, reports: dict[Claim, Progress]) -> None:
        answer = self.run(self.store.report_progress(reports))
        assert answer == self.model.report_progress(reports)

    # ── settle ───────────────────────────────────────────────────────────────────────────────

    # Rules of their own for what a job goes round by: it takes several steps to get there.

    @some_holder
    @rule(
        claim=one_of_the(lambda machine: machine.held_claims()),
        outcome=FAILURES | RETURNS | DISRUPTIONS,
    )
    def try_again(self, claim: Claim, outcome: Outcome) -> None:
        self.run(self._settle({claim: outcome}))

    @some_unstarted
    @rule(claim=one_of_the(lambda machine: machine.unstarted_claims()), outcome=LOST_LAUNCHES)
    def lose_the_launch(self, claim: Claim, outcome: Outcome) -> None:
        self.run(self._settle({claim: outcome}))

    @some_holder
    @rule(claim=one_of_the(lambda machine: machine.held_claims()), outcome=OUTCOMES)
    def settle_by_the_holder(self, claim: Claim, outcome: Outcome) -> None:
        self.run(self._settle({claim: outcome}))

    @some_claim
    @rule(claim=one_of_the(lambda machine: machine.claims), outcome=OUTCOMES)
    def settle_by_whoever_held_it_once(self, claim: Claim, outcome: Outcome) -> None:
        self.run(self._settle({claim: outcome}))

    @some_claim
    @rule(
        outcomes=for_several_leases(OUTCOMES),
        reports=st.just({}) | for_several_leases(PROGRESS),
        claim=st.none() | CLAIMS,
    )
    def settle_and_claim(
        self,
        outcomes: dict[Claim, Outcome],
        reports: dict[Claim, Progress],
        claim: ClaimRequest | None,
    ) -> None:
        settled, claimed = self.run(self.store.settle_and_claim(outcomes, claim, reports))
        self.model.report_progress(reports)
        self._expect_settled(outcomes, settled)
        self._given(claimed, self.model.claim(claim) if claim else [])

    @some_claim
    @rule(outcomes=for_several_leases(OUTCOMES))
    def settle_and_ask_since_the_answer_was_lost(self, outcomes: dict[Claim, Outcome]) -> None:
        self.run(self._settle(outcomes))
        assert self.run(self.store.settled(outcomes)) == self.model.ended(outcomes)

    async def _settle(self, outcomes: Mapping[Claim, Outcome]) -> None:
        self._expect_settled(outcomes, await self.store.settle(outcomes))

    def _expect_settled(self, outcomes: Mapping[Claim, Outcome], answer: object) -> None:
        held = {claim for claim in outcomes if self.model.held(claim)}
        assert answer == self.model.settle(outcomes)
        self.completions.update(
            claim.job_id
            for claim, outcome in outcomes.items()
            if claim in held and isinstance(outcome, Completed)
        )

    # ── time and maintenance ─────────────────────────────────────────────────────────────────

    @some_holder
    @rule(claim=one_of_the(lambda machine: machine.held_claims()))
    def a_lease_runs_out(self, claim: Claim) -> None:
        self._pass_lease(claim)

    @some_holder
    @rule(claim=one_of_the(lambda machine: machine.held_claims()))
    def a_worker_dies(self, claim: Claim) -> None:
        self._pass_lease(claim)
        self.run(self._rescue())

    def _pass_lease(self, claim: Claim) -> None:
        """To the very moment, which is when it has expired."""
        expires_at = self.model.jobs[claim.job_id].worker_expires_at
        assert expires_at is not None
        self._pass((expires_at - self.model.now).total_seconds())

    @rule(seconds=st.sampled_from([1, 9, 20, 61, -2]))
    def time_passes(self, seconds: int) -> None:
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.model.now = self.world.clock.value
        self.latest = max(self.latest, self.model.now)

    @rule()
    def stage(self) -> None:
        assert self.run(self.store.stage()) == self.model.stage()

    @rule()
    def rescue(self) -> None:
        self.run(self._rescue())

    @some_expired
    @rule()
    def rescue_while_the_holders_renew(self) -> None:
        self._rescue_while(lambda: self._heartbeat(self.held_claims(), 10.0))

    @some_expired
    @rule()
    def rescue_while_another_rescues(self) -> None:
        self._rescue_while(self._rescue)

    @some_expired
    @rule(outcome=OUTCOMES)
    def rescue_while_the_holders_settle(self, outcome: Outcome) -> None:
        self._rescue_while(lambda: self._settle(dict.fromkeys(self.held_claims(), outcome)))

    @some_expired
    @rule(claim=CLAIMS)
    def rescue_while_it_is_given_back_and_claimed(self, claim: ClaimRequest) -> None:
        async def give_back_and_claim() -> None:
            await self._settle(dict.fromkeys(self.held_claims(), Released("shutting down")))
            self._given(await self.store.claim(claim), self.model.claim(claim))

        self._rescue_while(give_back_and_claim)

    def _rescue_while(self, interruption: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let something happen between the look for expired leases and the rescue."""
        with self.world.database.interrupted_by(interruption, after_statements=1):
            self.run(self._rescue())

    async def _rescue(self) -> None:
        seen = self.model.expired()
        answer = await self.store.rescue()
        assert answer == self.model.rescue(seen, answer)

    @rule(
        ages=st.dictionaries(
            st.sampled_from([JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED]),
            st.sampled_from([0, 20]),
            min_size=1,
        ),
        after=st.sampled_from(["", "job-0002"]),
        limit=st.integers(1, 3),
    )
    def prune(self, ages: dict[JobStatus, int], after: str, limit: int) -> None:
        prunable = Prunable(
            {status: self.model.now - timedelta(seconds=age) for status, age in ages.items()}
        )
        stretch = self.run(self.store.survey(prunable, after=after, limit=limit))
        assert stretch == self.model.survey(prunable, after=after, limit=limit)
        pruned = self.run(self.store.prune(prunable, after=after, to=stretch.last_id))
        assert pruned == self.model.prune(prunable, after=after, to=stretch.last_id)
        assert all(self.rows[job_id]["completed_at"] for job_id in pruned)
        self.pruned.update(pruned)

    # ── by a person ──────────────────────────────────────────────────────────────────────────

    @some_job
    @rule(job_id=one_of_the(lambda machine: machine.enqueued))
    def cancel(self, job_id: str) -> None:
        if job_id in self.pruned:
            with pytest.raises(JobNotFoundError):
                self.run(self.store.cancel(job_id))
        else:
            assert self.run(self.store.cancel(job_id)) == self.model.cancel(job_id)

    @some_holder
    @rule(claim=one_of_the(lambda machine: machine.held_claims()), outcome=st.none() | OUTCOMES)
    def cancel_what_runs(self, claim: Claim, outcome: Outcome | None) -> None:
        assert self.run(self.store.cancel(claim.job_id)) == self.model.cancel(claim.job_id)
        if outcome is not None:
            self.run(self._settle({claim: outcome}))

    @some_job
    @rule(job_id=one_of_the(lambda machine: machine.enqueued))
    def retry_whatever_it_is(self, job_id: str) -> None:
        self._retry(job_id)

    @some_job
    @rule(job_id=one_of_the(lambda machine: machine.model.retryable() or machine.enqueued))
    def retry(self, job_id: str) -> None:
        self._retry(job_id)

    def _retry(self, job_id: str) -> None:
        if job_id in self.pruned:
            with pytest.raises(JobNotFoundError):
                self.run(self.store.retry(job_id))
        elif self.model.retry(job_id):
            self.run(self.store.retry(job_id))
            self.completions[job_id] = 0
        else:
            with pytest.raises(JobNotRetryableError):
                self.run(self.store.retry(job_id))

    # ── what a worker asks ───────────────────────────────────────────────────────────────────

    @rule(worker_id=WORKERS)
    def ask_what_a_worker_holds(self, worker_id: str) -> None:
        held = [job for job in self.model.running() if job.worker_id == worker_id]
        assert self.run(self.store.held_by(worker_id)) == {job.claim for job in held}
        assert self.run(self.store.cancel_requests(worker_id)) == {
            job.claim for job in held if job.cancel_requested_at is not None
        }

    # ── after every rule ─────────────────────────────────────────────────────────────────────

    @invariant()
    def every_row_is_right(self) -> None:
        before, self.rows = self.rows, self._read()
        claimed, self.claimed = self.claimed, Counter()
        self._check_laws(before, claimed)
        self._check_against_the_model(before)

    def _check_laws(self, before: Mapping[str, Row], claimed: Counter[str]) -> None:
        """What holds whatever the model thinks."""
        assert self.rows.keys() == set(self.enqueued) - self.pruned, "a job was lost"
        for job_id, row in self.rows.items():
            assert JobStatus(row["status"]).finished == (row["completed_at"] is not None)
            assert (row["status"] == "running") == (row["worker_expires_at"] is not None)
            assert 0 <= row["attempt_count"] <= row["max_attempts"]
            assert self.completions[job_id] <= 1
            fence_before = before[job_id]["fence"] if job_id in before else 0
            assert row["fence"] == fence_before + claimed[job_id]

    def _check_against_the_model(self, before: Mapping[str, Row]) -> None:
        """Columns that the model doesn't know are as they were when the row was first seen.

        A write that was refused has changed nothing in the model, hence in no column.
        """
        for job_id, row in self.rows.items():
            expected = before.get(job_id, row) | self.model.jobs[job_id].columns()
            wrong = {
                name: f"{row[name]!r} should be {value!r}"
                for name, value in expected.items()
                if row[name] != value
            }
            assert not wrong, f"{job_id}: {wrong}"

    def _read(self) -> dict[str, Row]:
        names = self.world.database.tables.jobs.c.keys()
        rows = self.run(self.world.database.execute(self.world.all_rows))
        return {row["id"]: row for row in (_comparable(names, values) for values in rows)}


def _told(job: ClaimedJob | ModelJob) -> tuple[object, ...]:
    """What a claim tells its holder, as far as the model knows it."""
    return (
        job.id,
        job.job_name,
        job.queue,
        job.priority,
        job.fence,
        job.attempt_count,
        job.max_attempts,
        job.worker_id,
        job.scheduled_for,
    )


def _comparable(names: list[str], values: tuple[Any, ...]) -> Row:
    row = dict(zip(names, values, strict=True))
    row["errors"] = [
        (error.attempt, error.at, error.type, error.message)
        for error in map(AttemptError.from_document, json.loads(row["errors"]))
    ]
    return row


# ── the tests ────────────────────────────────────────────────────────────────────────────────

REFUSED = "refused"
GONE_ROUND_OR_ENDED = {
    "running → pending",
    "running → failed",
    "running → cancelled",  # it was asked for meanwhile
}
EVERY_STEP = {
    "enqueue": {"nothing → pending", REFUSED},
    "insert_running": {"nothing → running"},
    "insert_by_hand": {"nothing → pending"},
    "stage": {"pending → pending"},
    "claim": {"pending → running"},
    "claim for a launch": {"pending → running"},
    "claim_one": {REFUSED},  # granted, it is a claim
    "start": {"running → running", REFUSED},
    "start again": {REFUSED},
    "heartbeat": {"running → running", REFUSED},
    "progress": {"running → running", REFUSED},
    "Completed": {"running → completed", REFUSED},
    "Abandoned": {"running → cancelled", REFUSED},
    "Failed": GONE_ROUND_OR_ENDED | {REFUSED},
    "Failed for good": {"running → failed", "running → cancelled"},
    "Released": GONE_ROUND_OR_ENDED | {REFUSED},
    "Postponed": {"running → pending", "running → cancelled", REFUSED},
    "Withdrawn": {"running → pending", "running → cancelled", REFUSED},
    "Withdrawn after the start": {REFUSED},
    "LaunchLost": GONE_ROUND_OR_ENDED | {REFUSED},
    "LaunchLost after the start": {REFUSED},
    "Disrupted": GONE_ROUND_OR_ENDED | {REFUSED},
    "Disrupted before the start": {REFUSED},
    "rescue": {REFUSED},
    "rescue before the start": GONE_ROUND_OR_ENDED,
    "rescue after the start": GONE_ROUND_OR_ENDED,
    "cancel": {"pending → cancelled", "running → running", REFUSED},
    "retry": {"failed → pending", "cancelled → pending", REFUSED},
    "retry under a taken key": {REFUSED},
    "prune": {"completed → nothing", "failed → nothing", "cancelled → nothing"},
}

# A thorough run takes long, and so does hypothesis when it makes a failure small.
pytestmark = pytest.mark.timeout(3_600)


def explore(url: str, searches: Iterable[int]) -> set[Step]:
    """Let the machine run → the steps that it took.

    Hypothesis varies every example that it finds several times over, so that many short
    searches see more than a long one. A thorough profile searches once, by its own numbers.
    """
    steps: set[Step] = set()
    with world(url) as place:

        class MachineOfThisPlace(StoreMachine):
            def __init__(self) -> None:
                super().__init__(place, steps)

        if settings.get_current_profile_name() == "thorough":
            run_state_machine_as_test(MachineOfThisPlace, settings=settings())
            return steps
        for number in searches:
            run_state_machine_as_test(
                seed(number)(MachineOfThisPlace),
                settings=settings(max_examples=10, stateful_step_count=40),
            )
    return steps


@cache
def steps_in_memory() -> set[Step]:
    return explore("sqlite://", range(12))


def test_store_in_memory_follows_the_model() -> None:
    steps_in_memory()


def test_machine_takes_every_step_that_there_is() -> None:
    """Otherwise the machine could agree with the store by never doing anything."""
    expected = {(name, change) for name, changes in EVERY_STEP.items() for change in changes}
    taken = set(steps_in_memory())
    # Which search finds the rarest steps is up to the release of hypothesis.
    for number in range(12, 60):
        if taken >= expected:
            break
        taken |= explore("sqlite://", [number])
    assert taken == expected


def test_store_in_a_file_follows_the_model(sqlite_url: str) -> None:
    explore(sqlite_url, range(2))


def test_store_on_postgres_follows_the_model(postgres_url: str) -> None:
    explore(postgres_url, range(3))
