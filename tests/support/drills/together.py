"""Everything that writes to the tables, at once, on rows that all of it wants.

Few jobs and many hands, each of which names its rows in an order of its own: whoever locks rows in
the order in which it happens to find them waits for somebody who waits for it.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, LiteralString, TypeVar

import psycopg
from uuid6 import uuid7

from server_jobs import connect
from server_jobs.database import Database
from server_jobs.launches.store import LaunchStore
from server_jobs.migrate import migrate
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.outcomes import (
    Completed,
    Disrupted,
    Failed,
    LaunchLost,
    Outcome,
    Postponed,
    Released,
)
from server_jobs.records.requests import ClaimRequest, JobFilter, Prunable
from server_jobs.records.rows import Claim, ClaimedJob, NewJob
from server_jobs.records.status import FINISHED, LIVE, RETRYABLE, JobStatus
from server_jobs.schedules import Overlap, Schedule
from server_jobs.schedules.scheduler import Scheduler
from server_jobs.schedules.store import ScheduleStore
from server_jobs.store.store import Store

JOBS, KEYS, SCHEDULES, PORTION = 60, 8, 12, 20
LEASE_SECONDS = 1.0
HOLDERS, LAUNCHERS, PERSONS, UPKEEPERS = 3, 2, 3, 2

_DEADLOCKS: LiteralString = (
    "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
)
# What no transition leaves behind. The last: a settlement that was accepted is not undone.
_WRONG: LiteralString = """
SELECT id, status, fence, attempt_count FROM jobs WHERE
  (status IN ('completed', 'failed', 'cancelled')) <> (completed_at IS NOT NULL)
  OR (status = 'running') <> (worker_expires_at IS NOT NULL)
  OR (ready AND status <> 'pending')
  OR attempt_count > fence OR attempt_count < 0
  OR (status = 'completed') <> (result IS NOT NULL)
  OR (status = 'pending' AND worker_id IS NOT NULL)
"""

T = TypeVar("T")


class Together:
    """On an empty PostgreSQL database. ``done`` counts what each kind of hand has done."""

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._rng = random.Random(seed)
        self._until = 0.0
        self.done: Counter[str] = Counter()
        self.accepted: dict[Claim, Outcome] = {}

    async def run(self, seconds: float) -> None:
        """Let all hands work for so long. Raises what any of them raises."""
        migrate(self._url)
        self._until = time.monotonic() + seconds
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:

            def opened() -> Database:
                database = connect(self._url)
                stack.push_async_callback(database.close)
                return database

            await self._define_schedules(opened())
            hands = [
                *(self._hold(opened(), f"worker-{n}") for n in range(HOLDERS)),
                *(self._launch(opened(), f"pods-{n}") for n in range(LAUNCHERS)),
                *(self._ask(opened()) for _ in range(PERSONS)),
                *(self._keep_up(opened()) for _ in range(UPKEEPERS)),
                *(self._fire(opened()) for _ in range(UPKEEPERS)),
                self._enqueue(opened()),
                self._enqueue(opened()),
            ]
            for hand in hands:
                tasks.create_task(hand)

    def deadlocks(self) -> int:
        """How many deadlocks the server has ended in this database, by its own count."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            # A session reports what it saw as it ends, or after a second; ours have ended.
            row = connection.execute(_DEADLOCKS).fetchone()
        assert row is not None
        return int(row[0])

    def wrong(self) -> list[object]:
        """Rows that lie, and completions that were accepted and are gone."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            found: list[object] = list(connection.execute(_WRONG))
            rows = {row[0]: row[1:] for row in connection.execute("SELECT id, status FROM jobs")}
        for claim, outcome in self.accepted.items():
            # A completed job is never run again. It may have been pruned.
            if isinstance(outcome, Completed) and claim.job_id in rows:
                (status,) = rows[claim.job_id]
                if status != JobStatus.COMPLETED:
                    found.append((claim, "completed, and then", status))
        return found

    # ── the hands ────────────────────────────────────────────────────────────────────────────

    def _goes_on(self, what: str) -> bool:
        self.done[what] += 1
        return time.monotonic() < self._until

    def _some(self, items: Sequence[T]) -> list[T]:
        return self._rng.sample(items, self._rng.randint(0, len(items)))

    async def _hold(self, database: Database, worker_id: str) -> None:
        """Claim, renew, report and settle, all of it at the same time."""
        store = Store(database)
        held: dict[Claim, ClaimedJob] = {}
        request = ClaimRequest("default", None, PORTION, worker_id, LEASE_SECONDS)

        async def settle() -> None:
            while self._goes_on("settle"):
                chosen = self._some(list(held))
                outcomes = {claim: self._outcome() for claim in chosen}
                reports = dict.fromkeys(self._some(chosen), (50.0, "half-way"))
                settled, claimed = await store.settle_and_claim(outcomes, request, reports)
                self._accept(outcomes, settled)
                for claim in chosen:
                    held.pop(claim, None)
                held.update({job.claim: job for job in claimed})
                await asyncio.sleep(self._rng.uniform(0, 0.01))

        async def renew() -> None:
            while self._goes_on("renew"):
                await store.heartbeat(self._some(list(held)), lease_seconds=LEASE_SECONDS)
                await asyncio.sleep(0)

        async def report() -> None:
            while self._goes_on("report"):
                chosen = self._some(list(held))
                await store.report_progress(dict.fromkeys(chosen, (9.0, None)))
                await asyncio.sleep(0)

        await asyncio.gather(settle(), renew(), report())

    def _outcome(self) -> Outcome:
        error = AttemptError.new("ValueError", "boom")
        ends: list[Outcome] = [
            Completed("1"),
            Failed(error, permanent=True),
            Failed(error, delay_seconds=self._rng.uniform(0, 0.2)),
            Released("for the others"),
            Postponed("not now", 0.1),
            Disrupted(error, 0.0),
        ]
        return self._rng.choice(ends)

    def _accept(self, outcomes: Mapping[Claim, Outcome], settled: Mapping[str, Any]) -> None:
        for claim, outcome in outcomes.items():
            if claim.job_id in settled:
                assert claim not in self.accepted, f"{claim} was settled twice"
                self.accepted[claim] = outcome

    async def _launch(self, database: Database, prefix: str) -> None:
        """Claim for others, renew and settle, as a launcher does."""
        launches = LaunchStore(database, prefix)
        while self._goes_on("launch"):
            claimed = await launches.claim(
                "default",
                job_names=None,
                limit=PORTION,
                worker_id=f"{prefix}/pod",
                lease_seconds=LEASE_SECONDS,
            )
            claims = [launch.claim for launch in claimed]
            error = AttemptError.new("image_pull", "no such image")
            lost = {claim: LaunchLost(error, 0.0) for claim in self._some(claims)}
            _, _, settled = await asyncio.gather(
                launches.renew(self._some(claims), lease_seconds=LEASE_SECONDS),
                launches.renew(self._some(claims), lease_seconds=LEASE_SECONDS),
                launches.records.settle(lost),
            )
            self._accept(lost, settled)

    async def _ask(self, database: Database) -> None:
        """Cancel and retry many at once, as people do."""
        store = Store(database)
        asked: list[tuple[Callable[[Sequence[str]], Awaitable[object]], tuple[JobStatus, ...]]] = [
            (store.cancel_many, tuple(LIVE)),
            (store.retry_many, tuple(RETRYABLE)),
        ]
        while self._goes_on("ask"):
            ask, statuses = self._rng.choice(asked)
            ids = await store.list_ids(JobFilter(statuses=statuses))
            await ask(self._rng.sample(ids, min(len(ids), PORTION)))
            await asyncio.sleep(self._rng.uniform(0, 0.02))

    async def _keep_up(self, database: Database) -> None:
        """Stage, rescue and prune."""
        store = Store(database)
        while self._goes_on("keep up"):
            await store.stage()
            await store.rescue()
            if self._rng.random() < 0.1:
                before = await store.clock() - timedelta(seconds=2)
                prunable = Prunable(dict.fromkeys(FINISHED, before))
                await store.prune(prunable, after="", to="g")
            await asyncio.sleep(self._rng.uniform(0, 0.05))

    async def _enqueue(self, database: Database) -> None:
        """Keep some jobs in the table, several with unique keys in one statement."""
        store = Store(database)
        while self._goes_on("enqueue"):
            wanted = JobFilter(statuses=(JobStatus.PENDING,))
            if len(await store.list_ids(wanted)) < JOBS:
                keys = self._rng.sample(range(KEYS), KEYS // 2)
                keyed = [_new(unique_key=f"key-{key}") for key in keys]
                await store.enqueue([*keyed, *(_new() for _ in range(PORTION))])
            await asyncio.sleep(self._rng.uniform(0, 0.05))

    async def _define_schedules(self, database: Database) -> None:
        schedules = ScheduleStore(database)
        for number in range(SCHEDULES):
            await schedules.put(
                Schedule(
                    name=f"schedule-{number}",
                    job_name="Greet",
                    cron_expression="* * * * *",
                    overlap=list(Overlap)[number % len(Overlap)],
                    managed_by="code:app",
                )
            )

    async def _fire(self, database: Database) -> None:
        """Fire schedules that are due all the time, prune them and make up for the past."""
        schedules = ScheduleStore(database)
        scheduler = Scheduler(schedules)
        names = [f"schedule-{number}" for number in range(SCHEDULES)]
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as by_hand:
            while self._goes_on("fire"):
                for name in self._some(names):
                    # One by one, since a statement of the test mustn't lock in any order either.
                    await by_hand.execute(
                        "UPDATE cron_jobs SET enabled = true, next_run_at = "
                        "CASE WHEN random() < 0.2 THEN NULL"
                        " ELSE date_trunc('minute', now()) - random() * interval '50 minutes' END"
                        " WHERE name = %s",
                        [name],
                    )
                await scheduler.tick()
                if self._rng.random() < 0.2:
                    await schedules.prune("code:app", self._some(names))
                if self._rng.random() < 0.2:
                    schedule = await schedules.get(self._rng.choice(names))
                    now = (await schedules.clock()).replace(second=0, microsecond=0)
                    past = [now - timedelta(minutes=n) for n in range(30)]
                    await schedules.backfill(schedule, self._some(past))


def _new(unique_key: str | None = None) -> NewJob:
    return NewJob(id=str(uuid7()), job_name="Greet", params="{}", unique_key=unique_key)
