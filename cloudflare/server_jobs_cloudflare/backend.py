"""The edge's backend: one tick, which claims, executes and settles, and keeps nothing for later."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import uuid6  # noqa: F401 - into the snapshot that isolates begin with, not into a tick

from server_jobs.backend.base import BaseWorkerBackend
from server_jobs.backend.work_loop import WorkLoop
from server_jobs.database import Database
from server_jobs.definition.held import Held
from server_jobs.definition.stop_request import StopReason
from server_jobs.errors import DatabaseError, DatabaseUnavailableError, StoreError
from server_jobs.execution.lease_keeper import LeaseKeeping
from server_jobs.records.ids import random_suffix
from server_jobs.records.outcomes import Outcome, Released
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import ClaimedJob
from server_jobs.records.text import message_of
from server_jobs.registry import JobRegistry
from server_jobs_cloudflare.budget import TickBudget
from server_jobs_cloudflare.config import LAST_MOMENT_SECONDS, EdgeConfig
from server_jobs_cloudflare.maintenance import Maintenance
from server_jobs_cloudflare.metered import Meter, MeteredDatabase
from server_jobs_cloudflare.observer import TickObserver
from server_jobs_cloudflare.routing import check_routes
from server_jobs_cloudflare.summary import CAME_TOO_LATE, TickSummary, say_tick
from server_jobs_cloudflare.turn import Turn

_log = logging.getLogger("server_jobs.edge")

BEAT_SECONDS = 2.0
"""How often progress is written and cancellations are looked for: each look is a query."""

BEATS = 50
"""How often that may be in a tick, however long it is."""


class CloudflareWorkerBackend(BaseWorkerBackend):
    """Executes one tick, in one invocation of the Worker. Each invocation makes a new one.

    The lease keeper is a task of the same event loop, since there are no threads here. It writes
    progress and finds cancellations. A handler that computes holds it up, but no lease depends on
    it: a lease is configured to be longer than a tick. The jobs of a tick that the platform kills
    are rescued when their leases expire.
    """

    name = "cloudflare"
    runs_on = "edge"
    ended_by_exceptions = True

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
        self._budget = TickBudget(self.settings, self._meter, self.summary)
        self._loop = WorkLoop(self, TickObserver(self.summary, self._budget, self._break))
        self._turn = Turn(self.store.database, self.worker_id, self.settings)
        self._broken: BaseException | None = None
        self._ticking: asyncio.Task[object] | None = None

    @property
    def handler_database(self) -> Database:
        """The database that handlers are given: it counts what they send.

        It refuses what they send beyond their limit: the rest is needed to settle jobs.
        """
        return self._for_handlers

    # ── one tick ─────────────────────────────────────────────────────────────────────────────

    async def tick(self, *, declare: bool = True) -> TickSummary:
        """Stage, rescue, fire, then claim and execute until the budget or the queues are spent.

        ``declare`` writes the registry's schedules before that. Raises SchemaError where the tables
        can't be used, DatabaseError where the database doesn't answer at all, and other exceptions
        when all that has ended is settled. An exception that isn't an ``Exception`` (the platform's
        limit on CPU time) passes through at once: the leases are left to expire.
        """
        self._budget.begin()
        self._ticking = asyncio.current_task()
        try:
            await self._whole_tick(declare)
        except BaseException as error:
            self._abandon()
            self.summary.ended = type(self._broken or error).__name__
            if self._broken is not None and isinstance(error, asyncio.CancelledError):
                # `_break` cancelled this task, because something beside it had broken.
                if self._ticking is not None:
                    self._ticking.uncancel()
                raise self._broken from None
            raise
        finally:
            self.summary.queries = self._meter.queries
            self.summary.duration_ms = round(self._budget.used * 1000, 1)
            say_tick(self.summary)
        return self.summary

    async def _whole_tick(self, declare: bool) -> None:
        try:
            async with asyncio.timeout(self._budget.left()):
                await self.initialize()
        except TimeoutError:
            raise DatabaseUnavailableError("no answer as long as a tick may take") from None
        problem: Exception | None = None
        try:
            await self.maintenance.run(declare=declare, left=self._budget.left)
            await self._work_in_time()
        except Exception as error:  # noqa: BLE001 - raised again once what has ended is settled
            problem = error
        await self._wind_down()
        problem = problem or (self._broken if isinstance(self._broken, Exception) else None)
        if problem is not None:
            raise problem

    async def initialize(self) -> None:
        """Check the tables and begin to keep leases.

        Raises DatabaseError, and SchemaError where the tables can't be used.
        """
        await super().initialize()
        if self.leases.task is not None:
            self.leases.task.add_done_callback(self._keeper_ended)

    async def run(self, job: ClaimedJob, held: Held) -> Outcome | None:
        """Execute a job under its lease → its outcome, which the caller settles.

        A job that the end of its tick cut off soon after it had begun isn't charged with a release.
        """
        began = time.monotonic()
        outcome = await super().run(job, held)
        seconds = time.monotonic() - began
        late = isinstance(outcome, Released) and self._budget.came_too_late(seconds)
        return CAME_TOO_LATE if late else outcome

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    async def _work_in_time(self) -> None:
        """Work, but no longer than the budget, even if the database doesn't answer."""
        limit = asyncio.timeout(self._budget.left())
        try:
            async with limit:
                await self._work()
        except TimeoutError:
            if not limit.expired():
                raise
            self.summary.ended = "time"
            self._loop.doubt()  # what is under way may be committed

    async def _work(self) -> None:
        if not await self._turn.take():
            self.summary.ended = "another tick"
            return
        pause = 0.0
        while True:
            if self._broken is not None:
                raise self._broken
            if self._loop.has_outcomes:
                self._loop.ask_all_queues()  # what has ended may have enqueued more, anywhere
            request = await self._next_claim()
            if request is not None or self._loop.needs_cycle:
                try:
                    await self._loop.cycle(request)
                    pause = 0.0
                except DatabaseError as error:
                    pause = min(max(pause * 2, 0.1), 2.0)
                    _log.warning("the database fails, trying again in %.1f s: %s", pause, error)
                    self._loop.doubt()
                    await asyncio.sleep(pause)
            elif not self._loop.running:
                return
            elif (over := self._budget.why_over()) is not None:
                self.summary.ended = over
                return
            else:
                # Not longer than a beat: the lease keeper's queries count, too.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(self._budget.left(), self._beat)):
                        await self._loop.news()

    async def _next_claim(self) -> ClaimRequest | None:
        """Return the next claim; None if there is none to make, or the budget allows no more."""
        spent = self._budget.why_spent()
        if spent is None:
            return self._loop.next_claim(self._budget.jobs_left)
        if self._loop.has_queues_to_ask:  # there may be jobs that aren't claimed
            self.summary.ended = spent
        await self._turn.let_go()  # this tick only waits for its handlers
        return None

    # ── what breaks ──────────────────────────────────────────────────────────────────────────

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        error = None if keeper.cancelled() else keeper.exception()
        if error is not None:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        """End the tick: at once, whatever it waits for, where this isn't an ``Exception``."""
        if self._broken is None or not isinstance(error, Exception):
            self._broken = error
        self._loop.wake()
        if self._ticking is not None and not isinstance(error, Exception):
            self._ticking.cancel()

    def _abandon(self) -> None:
        """Let go of everything without a further query: there may be no time for one."""
        self.summary.unsettled += len(self.leases.all)
        self.leases.abandon()
        self._loop.cancel_executions()

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _wind_down(self) -> None:
        """Interrupt what runs, give it back, and settle all that has ended."""
        for held in self.leases.all:
            held.stop_request.make(StopReason.SHUTDOWN)
        try:
            async with asyncio.timeout(LAST_MOMENT_SECONDS):
                await self._loop.settle_until_idle(LAST_MOMENT_SECONDS)
                await self._turn.let_go()
                if self._loop.in_doubt:
                    await self._loop.recover()  # the last time that we can ask
        except (StoreError, TimeoutError) as error:
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
