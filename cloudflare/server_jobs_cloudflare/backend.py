"""The edge's backend: a tick that finds, executes and settles, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import uuid6  # noqa: F401 - into the snapshot that isolates begin with, not into a tick

from server_jobs.backend import BaseWorkerBackend
from server_jobs.database import Database
from server_jobs.errors import DatabaseError
from server_jobs.group_commit import GroupCommit
from server_jobs.ids import random_suffix
from server_jobs.leases import StopReason
from server_jobs.records import ClaimedJob, Lease
from server_jobs.registry import JobRegistry
from server_jobs.store import Claim
from server_jobs_cloudflare.config import EdgeConfig
from server_jobs_cloudflare.metered import MeteredDatabase
from server_jobs_cloudflare.routing import check_routes
from server_jobs_cloudflare.summary import TickSummary, say_job, say_tick

_log = logging.getLogger("server_jobs.edge")

CLAIMING = 0.8
"""The part of a tick in which it claims: what is claimed later would only be given back."""

LAST_MOMENT_SECONDS = 3.0
"""How long interrupted handlers may take to end, so that their jobs can be given back."""

BEAT_SECONDS = 2.0
"""How often progress is written and cancellations are looked for: each look is a query."""


class CloudflareWorkerBackend(BaseWorkerBackend):
    """One tick, from one invocation of the Worker: make a new one for each.

    There are no threads here, so the lease keeper is a task of the same loop. It brings progress
    and cancellations; a handler that computes holds it up, which no lease depends on: a lease is
    longer than a tick by configuration, and what the platform kills is rescued when it expires.
    """

    name = "cloudflare"
    runs_on = "edge"

    def __init__(
        self,
        *,
        database: Database,
        job_registry: JobRegistry,
        config: EdgeConfig | None = None,
    ) -> None:
        self.settings = config or EdgeConfig()
        check_routes(job_registry, self.settings.wall_budget)
        self._metered = MeteredDatabase(database)
        super().__init__(
            database=self._metered,
            job_registry=job_registry,
            config=self.settings,
            worker_id=f"{self.name}/{random_suffix(12)}",
            tick_seconds=BEAT_SECONDS,
        )
        self.summary = TickSummary(self.worker_id)
        self._began = time.monotonic()
        self._running: dict[asyncio.Task[None], ClaimedJob] = {}
        self._ended = GroupCommit(self.store)
        self._over: dict[Lease, tuple[ClaimedJob, float]] = {}
        self._hungry: set[str] = set()
        self._news = asyncio.Event()
        self._doubtful = False
        self._broken: BaseException | None = None

    @property
    def database(self) -> Database:
        """The database, counting: what handlers send through it is part of the tick's budget."""
        return self._metered

    # ── one tick ─────────────────────────────────────────────────────────────────────────────

    async def tick(self, *, declare: bool = True) -> TickSummary:
        """Stage, rescue, fire, then claim and execute until the budget or the queues are spent.

        ``declare`` writes the registry's schedules first. Raises SchemaError where the tables
        can't be used. What isn't an ``Exception`` (the platform's limit on CPU) passes through at
        once: the leases are left to expire.
        """
        self._began = time.monotonic()
        try:
            await self.initialize()
            await self._maintain(declare)
            await self._work()
            await self._wind_down()
            await self.shutdown()
        except BaseException as error:
            self._abandon()
            self.summary.ended = type(error).__name__
            raise
        finally:
            self.summary.queries = self._metered.queries
            self.summary.duration_ms = round((time.monotonic() - self._began) * 1000, 1)
            say_tick(self.summary)
        return self.summary

    def _abandon(self) -> None:
        """Let go without a further query: there may be no time for one."""
        self.summary.unsettled += len(self.leases.all)
        self.leases.abandon()
        for task in self._running:
            task.cancel()

    async def _maintain(self, declare: bool) -> None:
        try:
            self.summary.staged = await self.store.stage()
            self.summary.rescued = await self.handle_expired_locks()
            if declare:
                await self.declare_schedules(prune=self.settings.prune_schedules)
            self.summary.fired = len((await self.fire_schedules()).job_ids)
        except DatabaseError as error:
            # What can be claimed is executed all the same; the next tick is a minute away.
            _log.warning("maintenance has to wait for the next tick: %s", error)

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    async def _work(self) -> None:
        self._hungry = set(self.config.queues)
        pause = 0.0
        while True:
            self._raise_what_broke()
            claim = self._next_claim()
            if claim is not None or self._ended or self._doubtful:
                try:
                    await self._cycle(claim)
                    pause = 0.0
                except DatabaseError as error:
                    pause = min(max(pause * 2, 0.1), 2.0)
                    _log.warning("the database fails, trying again in %.1f s: %s", pause, error)
                    self._doubtful = True
                    self._hungry = set(self.config.queues)
                    if self._left() <= pause:
                        return
                    await asyncio.sleep(pause)
            elif not self._running:
                return
            elif not await self._hear(self._left()):
                self.summary.ended = "time"
                return

    def _next_claim(self) -> Claim | None:
        """A claim for the free slots, from the next queue that may have something."""
        free = self.config.concurrency - len(self._running)
        free = min(free, self.settings.max_jobs_per_tick - self.summary.claimed)
        if self._spent() or free <= 0:
            return None
        for queue in self._rotation():
            if queue in self._hungry:
                self._next_queue = self.config.queues.index(queue) + 1
                return self.claim_of(queue, free)
        return None

    def _spent(self) -> bool:
        """Whether nothing more is claimed, although there may be something."""
        if not self._hungry:
            return False
        if self._left() <= (1 - CLAIMING) * self.settings.wall_budget:
            self.summary.ended = "time"
        elif self._metered.queries >= self.settings.max_queries:
            self.summary.ended = "queries"
        elif self.summary.claimed >= self.settings.max_jobs_per_tick:
            self.summary.ended = "jobs"
        else:
            return False
        return True

    async def _cycle(self, claim: Claim | None) -> None:
        """Settle what has ended and claim the next, in one batch."""
        if self._doubtful:
            await self.give_back_unknown()
            self._doubtful = False
        over, claimed = await self._ended.commit(claim)
        for lease, outcome in over.items():
            self.leases.drop(lease)
            job, duration_ms = self._over.pop(lease)
            self.summary.count(say_job(job, outcome, duration_ms))
        if over:
            # What has ended may have enqueued more, into any queue.
            self._hungry = set(self.config.queues)
        if claim is not None and len(claimed) < claim.limit:
            self._hungry.discard(claim.queue)
        for job in claimed:
            self._begin(job)

    def _begin(self, job: ClaimedJob) -> None:
        self.summary.claimed += 1
        self.leases.hold(job)
        task = asyncio.create_task(self._execute_one(job))
        self._running[task] = job
        task.add_done_callback(self._one_ended)

    async def _execute_one(self, job: ClaimedJob) -> None:
        began = time.monotonic()
        outcome, execution = await self.run(job)
        duration_ms = (time.monotonic() - began) * 1000
        held = execution.held
        if outcome is None or self.leases.get(job.id) is not held:
            self.leases.drop(held.lease)
            self.summary.count(say_job(job, None, duration_ms))
        else:
            self._over[held.lease] = (job, duration_ms)
            self._ended.add(held.lease, outcome, held.unwritten_progress)

    def _one_ended(self, task: asyncio.Task[None]) -> None:
        job = self._running.pop(task)
        if task.cancelled():
            self.leases.drop(job.lease)
        elif task.exception() is not None:
            # No handler's error, those are outcomes: the platform's, or a bug of ours.
            self._broken = task.exception()
        self._news.set()

    async def _hear(self, seconds: float) -> bool:
        """Wait until a handler has ended → whether one has, before time was up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._news.wait()
        heard = self._news.is_set()
        self._news.clear()
        return heard

    def _raise_what_broke(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _left(self) -> float:
        return self.settings.wall_budget - (time.monotonic() - self._began)

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _wind_down(self) -> None:
        """Interrupt what runs, give it back, and settle all that has ended."""
        for held in self.leases.all:
            held.stop(StopReason.SHUTDOWN)
        deadline = time.monotonic() + LAST_MOMENT_SECONDS
        while self._running or self._ended or self._doubtful:
            self._raise_what_broke()
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if self._ended or self._doubtful:
                try:
                    await self._cycle(None)
                except DatabaseError as error:
                    _log.warning("can't settle what has ended just now: %s", error)
                    await asyncio.sleep(0.2)
            else:
                await self._hear(left)
        for held in self.leases.all:
            _log.warning("job %s is left to the rescue: its lease expires", held.lease.job_id)
            self.leases.drop(held.lease)
            self.summary.unsettled += 1
