"""The edge's backend: a tick that finds, executes and settles, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import uuid6  # noqa: F401 - into the snapshot that isolates begin with, not into a tick

from server_jobs.backend.work_loop import WorkLoop
from server_jobs.database import Database
from server_jobs.definition.stop_request import StopReason
from server_jobs.errors import DatabaseError, DatabaseUnavailableError, SchemaError
from server_jobs.execution.group_commit import Over
from server_jobs.execution.lease_keeper import LeaseKeeping
from server_jobs.records.ids import random_suffix
from server_jobs.records.outcomes import Outcome, Postponed, Released
from server_jobs.records.rows import Claim, ClaimedJob
from server_jobs.records.text import message_of
from server_jobs.registry import JobRegistry
from server_jobs_cloudflare.config import LAST_MOMENT_SECONDS, EdgeConfig
from server_jobs_cloudflare.maintenance import Maintenance
from server_jobs_cloudflare.metered import Meter, MeteredDatabase
from server_jobs_cloudflare.routing import check_routes
from server_jobs_cloudflare.summary import LOST, TickSummary, say_job, say_tick, status_of
from server_jobs_cloudflare.turn import Turn

_log = logging.getLogger("server_jobs.edge")

CHARGED = 0.8
"""A job that had this part of a tick's working time, and didn't end, may be too long for it."""

BEAT_SECONDS = 2.0
"""How often progress is written and cancellations are looked for: each look is a query."""

BEATS = 50
"""Not more of them in a tick, however long it is."""


class CloudflareWorkerBackend(WorkLoop):
    """One tick, from one invocation of the Worker: make a new one for each.

    The lease keeper is a task of the same loop, since there are no threads here. It brings
    progress and cancellations; a handler that computes holds it up, which no lease depends on: a
    lease is longer than a tick by configuration, and what the platform kills is rescued when it
    expires.
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
        self._beat = max(BEAT_SECONDS, self.settings.wall_budget / BEATS)
        self._meter = Meter(database)
        self._for_handlers = MeteredDatabase(self._meter, self.settings.handler_ceiling)
        super().__init__(
            database=MeteredDatabase(self._meter),
            job_registry=job_registry,
            config=self.settings,
            worker_id=f"{self.name}/{random_suffix(12)}",
            keeping=LeaseKeeping(tick_seconds=self._beat, on_thread=False),
        )
        self.summary = TickSummary(self.worker_id)
        self.maintenance = Maintenance(self, self.summary, prune=self.settings.prune_schedules)
        self._began = time.monotonic()
        self._working_time = self.settings.wall_budget
        self._over: dict[Claim, tuple[ClaimedJob, Outcome, float]] = {}
        self._ticking: asyncio.Task[object] | None = None
        self._turn = Turn(self.store.database, self.worker_id, self.settings)

    @property
    def handler_database(self) -> Database:
        """What handlers send counts, and is refused where the rest is needed to settle jobs."""
        return self._for_handlers

    # ── one tick ─────────────────────────────────────────────────────────────────────────────

    async def tick(self, *, declare: bool = True) -> TickSummary:
        """Stage, rescue, fire, then claim and execute until the budget or the queues are spent.

        ``declare`` writes the registry's schedules first. Raises SchemaError where the tables
        can't be used. What goes wrong is raised once all that has ended is settled; but what
        isn't an ``Exception`` (the platform's limit on CPU) passes through at once: the leases are
        left to expire.
        """
        self._began = time.monotonic()
        self._ticking = asyncio.current_task()
        try:
            await self._whole_tick(declare)
        except BaseException as error:
            self._abandon()
            self.summary.ended = type(self._broken or error).__name__
            if self._broken is not None and isinstance(error, asyncio.CancelledError):
                # It was we who cancelled: something beside us had broken.
                if self._ticking is not None:
                    self._ticking.uncancel()
                raise self._broken from None
            raise
        finally:
            self.summary.queries = self._meter.queries
            self.summary.duration_ms = round((time.monotonic() - self._began) * 1000, 1)
            say_tick(self.summary)
        return self.summary

    async def _whole_tick(self, declare: bool) -> None:
        try:
            async with asyncio.timeout(self._left()):
                await self.initialize()
        except TimeoutError:
            raise DatabaseUnavailableError("no answer as long as a tick may take") from None
        problem: Exception | None = None
        try:
            await self.maintenance.run(declare=declare, left=self._left)
            await self._work_in_time()
        except Exception as error:  # noqa: BLE001 - raised again once what has ended is settled
            problem = error
        await self._wind_down()
        problem = problem or (self._broken if isinstance(self._broken, Exception) else None)
        if problem is not None:
            raise problem

    async def initialize(self) -> None:
        """Check the tables and begin to keep leases."""
        await super().initialize()
        if self.leases.task is not None:
            self.leases.task.add_done_callback(self._keeper_ended)

    def _abandon(self) -> None:
        """Let go without a further query: there may be no time for one."""
        self.summary.unsettled += len(self.leases.all)
        self.leases.abandon()
        for task in self._running:
            task.cancel()

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    async def _work_in_time(self) -> None:
        """The database's silence doesn't make a tick longer: what was asked is looked up."""
        limit = asyncio.timeout(self._left())
        try:
            async with limit:
                await self._work()
        except TimeoutError:
            if not limit.expired():
                raise
            self.summary.ended = "time"
            self._doubt()

    async def _work(self) -> None:
        if not await self._turn.take():
            self.summary.ended = "another tick"
            return
        self._all_hungry()
        pause = 0.0
        while True:
            if self._broken is not None:
                raise self._broken
            if self._ended:
                self._all_hungry()  # what has ended may have enqueued more, into any queue
            request = self._next_claim()
            if self._why_spent() is not None:
                await self._turn.let_go()  # this one only waits for its handlers
            if request is not None or self._ended or self._doubtful:
                try:
                    await self._cycle(request)
                    pause = 0.0
                except DatabaseError as error:
                    pause = min(max(pause * 2, 0.1), 2.0)
                    _log.warning("the database fails, trying again in %.1f s: %s", pause, error)
                    self._doubt()
                    self._all_hungry()
                    await asyncio.sleep(pause)
            elif not self._running:
                return
            elif self._meter.queries >= self.settings.ceiling:
                self.summary.ended = "queries"  # what is left settles what runs
                return
            elif self._left() <= 0:
                self.summary.ended = "time"
                return
            else:
                # Not longer than a beat: the lease keeper's queries count, too.
                await self._hear(min(self._left(), self._beat))

    def _free(self) -> int:
        spent = self._why_spent()
        if spent is not None:
            if self._hungry:  # there may be something that isn't claimed
                self.summary.ended = spent
            return 0
        return min(super()._free(), self.settings.max_jobs_per_tick - self.summary.claimed)

    def _why_spent(self) -> str | None:
        """Why nothing more is claimed; None where something may be."""
        if time.monotonic() - self._began >= self.settings.claiming_seconds:
            return "time"
        if self._meter.queries >= self.settings.max_queries:
            return "queries"
        return "jobs" if self.summary.claimed >= self.settings.max_jobs_per_tick else None

    async def _hear(self, seconds: float) -> None:
        """Wait until a handler has ended, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    def _left(self) -> float:
        return self.settings.wall_budget - (time.monotonic() - self._began)

    # ── what the loop tells ──────────────────────────────────────────────────────────────────

    def _begun(self, job: ClaimedJob) -> None:
        if not self.summary.claimed:
            self._working_time = self._left()  # the most that a job can have
        self.summary.claimed += 1

    def _has_ended(self, job: ClaimedJob, outcome: Outcome, began: float) -> Outcome:
        seconds = time.monotonic() - began
        self._over[job.claim] = (job, outcome, seconds * 1000)
        if isinstance(outcome, Released) and seconds < CHARGED * self._working_time:
            # Not too long for a tick: it came too late for this one.
            return Postponed("given back: its tick ended soon after it had begun", 0.0)
        return outcome

    def _settled(self, claim: Claim, over: Over) -> None:
        job, meant, duration_ms = self._over.pop(claim)
        status = status_of(meant, over.status)
        self.summary.count(status)
        say_job(job, status, duration_ms, over.outcome)

    def _lost(self, job: ClaimedJob, began: float) -> None:
        self.summary.count(LOST)
        say_job(job, LOST, (time.monotonic() - began) * 1000)

    def _broke_off(self, job: ClaimedJob, error: BaseException) -> None:
        self.summary.unsettled += 1
        self._break(error)

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        error = None if keeper.cancelled() else keeper.exception()
        if error is not None:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        """End the tick: at once, whatever it waits for, where this isn't an ``Exception``."""
        if self._broken is None or not isinstance(error, Exception):
            self._broken = error
        self._news.set()
        if self._ticking is not None and not isinstance(error, Exception):
            self._ticking.cancel()

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _wind_down(self) -> None:
        """Interrupt what runs, give it back, and settle all that has ended."""
        for held in self.leases.all:
            held.stop_request.make(StopReason.SHUTDOWN)
        try:
            async with asyncio.timeout(LAST_MOMENT_SECONDS):
                await self._settle_until(LAST_MOMENT_SECONDS)
                await self._turn.let_go()
                if self._in_doubt:
                    await self._recover()  # the last time that we can ask
        except (DatabaseError, SchemaError, TimeoutError) as error:
            _log.warning("can't settle all that has ended: %s", message_of(error))
        for held in self.leases.all:
            _log.warning("job %s is left to the rescue: its lease expires", held.claim.job_id)
            self.leases.drop(held.claim)
            self.summary.unsettled += 1
        try:
            async with asyncio.timeout(LAST_MOMENT_SECONDS):
                await self.shutdown()
        except TimeoutError:
            self.leases.abandon()
