"""Plays the scenario: enqueues real work, watches it, and kills a worker half-way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from server_jobs import JobRecord, JobStatus
from server_jobs.demo.crew import Crew, Worker
from server_jobs.demo.jobs import (
    Call,
    Module,
    Primes,
    Reminder,
    Run,
    analyse_module,
    call_flaky_service,
    count_primes,
    gather_statistics,
    send_reminder,
)
from server_jobs.demo.snapshot import Snapshot, SnapshotReader
from server_jobs.demo.story import News, Story, Tone, count_of_jobs
from server_jobs.records.rows import Claim

FAILURES = 2
DELAY_SECONDS = 3.0
PRIMES_BELOW = 200_000

_LOOK_SECONDS = 0.2
_STALLED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Cast:
    """Holds the ids of the jobs that were enqueued."""

    modules: Sequence[str]
    report: str
    flaky: str
    reminder: str
    primes: str

    @property
    def special(self) -> tuple[str, ...]:
        """The ids of all jobs but the modules'."""
        return (self.flaky, self.reminder, self.primes, self.report)

    @property
    def all(self) -> frozenset[str]:
        """The ids of all jobs."""
        return frozenset((*self.modules, *self.special))


@dataclass(frozen=True, slots=True)
class Kill:
    """Says which worker was killed, and which claims it held."""

    worker: Worker
    worker_id: str
    claims: frozenset[Claim]

    def fence_of(self, job_id: str) -> int | None:
        """Find the fence of a job that the killed worker held → None if it didn't hold it."""
        return next((claim.fence for claim in self.claims if claim.job_id == job_id), None)


@dataclass(slots=True)
class Facts:
    """Holds what the demo itself saw, to be compared with the rows at the end."""

    reminder_due_at: datetime | None = None
    kill: Kill | None = None


class Audience(Protocol):
    """Shows the run to people."""

    def tell(self, news: News) -> None:
        """Tell a piece of news."""

    def show(self, snapshot: Snapshot, workers: Sequence[Worker]) -> None:
        """Show the current state."""


async def enqueue(run: str, modules: Sequence[str]) -> Cast:
    """Enqueue one job per module, and the special ones that fail, wait or are killed → their ids.

    ``run`` becomes the jobs' queue and correlation id.
    """
    flaky = await call_flaky_service.later(Call(failures=FAILURES), queue=run, correlation_id=run)
    reminder = await send_reminder.later(
        Reminder(text="jobs can wait"), delay=DELAY_SECONDS, queue=run, correlation_id=run
    )
    primes = await count_primes.later(
        Primes(below=PRIMES_BELOW, killed_on_attempt=1), queue=run, correlation_id=run
    )
    report = await gather_statistics.later(
        Run(queue=run, modules=len(modules)), queue=run, correlation_id=run
    )
    analyses = await analyse_module.later_many(
        [Module(path=path) for path in modules], queue=run, correlation_id=run
    )
    return Cast(analyses, report=report, flaky=flaky, reminder=reminder, primes=primes)


class Scenario:
    """Watches a run until every job has ended."""

    def __init__(self, cast: Cast, reader: SnapshotReader, crew: Crew, audience: Audience) -> None:
        self.facts = Facts()
        self._cast = cast
        self._reader = reader
        self._crew = crew
        self._audience = audience
        self._story = Story()
        self._rescue_told = False

    async def play(self) -> Facts:
        """Watch the run until all jobs have ended, or nothing has changed for a minute.

        Raises ServerJobsError if workers keep dying.
        """
        for worker in self._crew.workers:
            self._audience.tell(News(f"{worker} started"))
        moved_at, before = time.monotonic(), None
        while True:
            snapshot = await self._reader.read()
            await self._tell(snapshot)
            self._audience.show(snapshot, self._crew.workers)
            if snapshot.ended == snapshot.total:
                return self.facts
            await self._kill_if_half_way(snapshot)
            for worker in self._crew.replace_dead():
                self._audience.tell(News(f"{worker} started in its place"))
            if (state := _state(snapshot)) != before:
                moved_at, before = time.monotonic(), state
            elif time.monotonic() - moved_at > _STALLED_SECONDS:
                self._audience.tell(News("nothing has moved for a minute: giving up", Tone.BAD))
                return self.facts
            await asyncio.sleep(_LOOK_SECONDS)

    async def _tell(self, snapshot: Snapshot) -> None:
        records = [*snapshot.special, *snapshot.troubled]
        for news in self._story.of(records):
            self._audience.tell(news)
        if self.facts.reminder_due_at is None:
            reminder = self._special(snapshot, self._cast.reminder)
            self.facts.reminder_due_at = reminder.scheduled_for
        kill = self.facts.kill
        if kill and not self._rescue_told and not snapshot.holds(kill.worker_id):
            self._rescue_told = True
            rescued = count_of_jobs(len(kill.claims))
            self._audience.tell(News(f"{rescued} of {kill.worker} rescued", Tone.GOOD))

    async def _kill_if_half_way(self, snapshot: Snapshot) -> None:
        """Kill the worker that counts primes, once it is half-way and the flaky job is over."""
        primes = self._special(snapshot, self._cast.primes)
        flaky = self._special(snapshot, self._cast.flaky)
        half_way = primes.status is JobStatus.RUNNING and primes.progress >= 50
        if self.facts.kill or not half_way or not flaky.status.finished:
            return
        for worker in self._crew.workers:
            if primes.worker_id and worker.is_called(primes.worker_id) and worker.alive:
                self._crew.kill(worker)
                claims = frozenset(await self._reader.held_by(primes.worker_id))
                self.facts.kill = Kill(worker, primes.worker_id, claims)
                held = count_of_jobs(len(claims))
                self._audience.tell(News(f"{worker} killed (SIGKILL), holding {held}", Tone.BAD))

    def _special(self, snapshot: Snapshot, job_id: str) -> JobRecord:
        return next(record for record in snapshot.special if record.id == job_id)


def _state(snapshot: Snapshot) -> object:
    """Build a value that changes as long as there is progress."""
    return snapshot.ended, [(record.progress, record.errors) for record in snapshot.special]
