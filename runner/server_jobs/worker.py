"""The local worker: a long-running process that executes jobs in itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from server_jobs.backend import BaseWorkerBackend, WorkerBackendConfig
from server_jobs.database import Database
from server_jobs.errors import ConfigurationError, DatabaseError, SchemaError
from server_jobs.group_commit import GroupCommit
from server_jobs.leases import StopReason
from server_jobs.outcomes import Completed, Failed
from server_jobs.records import ClaimedJob
from server_jobs.registry import JobRegistry
from server_jobs.reports import report
from server_jobs.retention import (
    DAY,
    KEEP_CANCELLED,
    KEEP_COMPLETED,
    KEEP_FAILED,
    Keep,
    Retention,
)
from server_jobs.store import STAGE_LIMIT, Claim

_log = logging.getLogger("server_jobs.worker")

MAINTENANCE_SECONDS = 1.0
"""How often due jobs are staged and expired leases rescued."""

LAST_MOMENT_SECONDS = 3.0
"""How long interrupted handlers may take to end, so that their jobs can be given back."""

DOUBT_SECONDS = 60.0
"""For how long after an outage a claim may turn up that the database was still busy with."""

DRAIN_HORIZON_SECONDS = 60.0
"""A draining worker waits for jobs that become due within this."""


@dataclass(frozen=True, slots=True)
class WorkerConfig(WorkerBackendConfig):
    """How the local worker works. Times are in seconds; what is kept for None is kept for ever.

    With ``schedules``, it writes the registry's schedules into the table when it starts, and fires
    all that are due. ``prune_schedules`` disables those that the registry no longer declares.
    """

    poll_interval: float = 1.0
    grace: float = 30.0
    drain: bool = False
    schedules: bool = True
    prune_schedules: bool = False
    keep_completed: float | None = KEEP_COMPLETED
    keep_failed: float | None = KEEP_FAILED
    keep_cancelled: float | None = KEEP_CANCELLED
    prune_interval: float = 300.0

    def __post_init__(self) -> None:
        WorkerBackendConfig.__post_init__(self)
        if not 0.01 <= self.poll_interval <= 3_600:
            raise ConfigurationError(
                f"poll_interval={self.poll_interval} isn't between 0.01 and 3600 seconds"
            )
        if not 0 <= self.grace <= 86_400:
            raise ConfigurationError(f"grace={self.grace} isn't between 0 seconds and a day")
        if not 0.01 <= self.prune_interval <= DAY:
            raise ConfigurationError(
                f"prune_interval={self.prune_interval} isn't between 0.01 seconds and a day"
            )
        _ = self.keep  # checks the three

    @property
    def keep(self) -> Keep:
        """How long records are kept. Raises ConfigurationError."""
        return Keep(self.keep_completed, self.keep_failed, self.keep_cancelled)


@dataclass
class WorkerTotals:
    """What a worker has done so far."""

    claimed: int = 0
    completed: int = 0
    failed: int = 0
    other: int = 0
    lost: int = 0
    rescued: int = 0


class LocalWorker(BaseWorkerBackend):
    """Claims in batches as slots free up, and settles in groups, in the same commit.

    ::

        worker = LocalWorker(database=connect(url), job_registry=registry)
        await worker.run_until_stopped()

    ``stop()`` ends it: nothing more is claimed, handlers get ``grace`` seconds, then they are
    interrupted and their jobs given back. Calling it again skips the grace.
    """

    name = "local"
    runs_on = "local"

    def __init__(
        self,
        *,
        database: Database,
        job_registry: JobRegistry,
        config: WorkerConfig | None = None,
    ) -> None:
        self.settings = config or WorkerConfig()
        super().__init__(database=database, job_registry=job_registry, config=self.settings)
        self.totals = WorkerTotals()
        self._threads = ThreadPoolExecutor(
            self.settings.concurrency, thread_name_prefix="server-jobs-handler"
        )
        self._running: dict[asyncio.Task[None], ClaimedJob] = {}
        self._stopping = False
        self._hurried = False
        self._news = asyncio.Event()
        self._hungry: set[str] = set()
        self._doubtful = False
        self._doubt_ends = -math.inf
        self._broken: BaseException | None = None
        self._ended = GroupCommit(self.store)
        self._retention = Retention(self.store, self.settings.keep)

    @property
    def running(self) -> list[ClaimedJob]:
        """The jobs whose handlers run; after the end, those whose handlers didn't stop."""
        return list(self._running.values())

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def run_until_stopped(self) -> WorkerTotals:
        """Work until ``stop()`` is called or, draining, until the queues are empty.

        Raises SchemaError where the tables can't be used. Whoever cancels it stops it without
        the grace period.
        """
        await self.initialize()
        _log.info(
            "worker %s serves %s with %d at once on %r",
            self.worker_id,
            ", ".join(self.config.queues),
            self.config.concurrency,
            self.store.database,
        )
        if self.settings.schedules:
            await self._declare_schedules()
        helpers = [
            asyncio.create_task(self._listen(), name="listen"),
            asyncio.create_task(self._maintain(), name="maintain"),
            asyncio.create_task(self._retention.run(self.settings.prune_interval), name="prune"),
        ]
        if self.settings.schedules:
            helpers.append(asyncio.create_task(self._fire_schedules(), name="schedules"))
        for helper in helpers:
            helper.add_done_callback(self._helper_ended)
        work = asyncio.create_task(self._work(), name="work")
        try:
            try:
                await asyncio.shield(work)
            except BaseException:
                self._stopping = self._hurried = True
                self._news.set()
                await self._last_answer(work)
                raise
            finally:
                await self._wind_down()
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await self.shutdown()
        if self._broken is not None:
            raise self._broken
        return self.totals

    async def _last_answer(self, work: asyncio.Task[None]) -> None:
        """What is under way to the database happens, even if we don't wait: better know of it."""
        try:
            await asyncio.wait({work}, timeout=LAST_MOMENT_SECONDS)
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            if work.cancelled():
                self._doubt()

    def _helper_ended(self, helper: asyncio.Task[None]) -> None:
        """Without its helpers a worker would look alive and starve: it ends instead."""
        if not helper.cancelled():
            self._broken = helper.exception()
            self.stop()

    def stop(self) -> None:
        """Stop claiming and wind down; the second call skips the grace period.

        Call it in the loop's thread (a signal handler of the loop's is there).
        """
        self._hurried = self._stopping
        self._stopping = True
        self._news.set()

    async def shutdown(self) -> None:
        """Give back what was claimed and not begun, and let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(DatabaseError):  # what can't be given back expires
            await super().shutdown()

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    async def _work(self) -> None:
        """Settle what has ended and claim the next, in one commit, as long as there is work."""
        self._hungry = set(self.config.queues)
        pause = 0.0
        while not self._stopping:
            claim = self._next_claim()
            try:
                if claim is not None or self._ended or self._doubtful:
                    await self._cycle(claim)
                elif await self._drained():
                    return
                else:
                    await self._news.wait()
                    self._news.clear()
                pause = 0.0
            except DatabaseError as error:
                pause = min(max(pause * 2, 0.1), 5.0)
                _log.warning("the database fails, trying again in %.1f s: %s", pause, error)
                self._doubt()
                self._all_hungry()
                await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not once the worker is to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._stopping:
                    await self._news.wait()
                    self._news.clear()

    async def _cycle(self, claim: Claim | None) -> None:
        if self._doubtful:
            await self._recover()
        if claim is not None:
            # Before the question: news that arrives while it is asked must not be forgotten.
            self._hungry.discard(claim.queue)
        settled, claimed = await self._ended.commit(claim)
        for lease, outcome in settled.items():
            self.leases.drop(lease)
            self._count(outcome)
            if outcome is None:
                _log.warning("job %s: the lease was lost, its outcome is refused", lease.job_id)
            elif not isinstance(outcome, Completed):
                self._all_hungry()  # it may be due again at once, and nothing announces that
        if claim is not None and len(claimed) == claim.limit:
            self._hungry.add(claim.queue)
        for job in claimed:
            self._begin(job)

    def _next_claim(self) -> Claim | None:
        """A claim for the free slots, from the next queue that may have something."""
        free = self.config.concurrency - len(self._running)
        if free <= 0 or self._stopping:
            return None
        for queue in self._rotation():
            if queue in self._hungry:
                # The turn passes to the next one: else its neighbour gets an idle queue's turns.
                self._next_queue = self.config.queues.index(queue) + 1
                return self.claim_of(queue, free)
        return None

    def _begin(self, job: ClaimedJob) -> None:
        self.totals.claimed += 1
        _log.debug("job %s (%s) begins attempt %d", job.id, job.job_name, job.attempt_count)
        self.leases.hold(job)
        task = asyncio.create_task(self._execute_one(job))
        self._running[task] = job
        task.add_done_callback(self._one_ended)

    async def _execute_one(self, job: ClaimedJob) -> None:
        began = asyncio.get_running_loop().time()
        outcome, execution = await self.run(job, self._threads)
        held = execution.held
        if outcome is None or self.leases.get(job.id) is not held:
            self.leases.drop(held.lease)
            self.totals.lost += 1
            _log.warning(
                "job %s (%s): the lease was lost, its handler is stopped", job.id, job.job_name
            )
        else:
            report(job, outcome, asyncio.get_running_loop().time() - began)
            self._ended.add(held.lease, outcome, held.unwritten_progress)

    def _one_ended(self, task: asyncio.Task[None]) -> None:
        job = self._running.pop(task)
        if task.cancelled() or task.exception() is not None:
            # Not a handler's exception: those are outcomes. The lease is left to expire.
            self.leases.drop(job.lease)
            if not task.cancelled():
                _log.error("job %s: its execution broke off", job.id, exc_info=task.exception())
        self._news.set()

    def _count(self, outcome: object) -> None:
        match outcome:
            case None:
                self.totals.lost += 1
            case Completed():
                self.totals.completed += 1
            case Failed():
                self.totals.failed += 1
            case _:
                self.totals.other += 1

    async def _drained(self) -> bool:
        if not self.settings.drain or self._running or self._ended:
            return False
        return not await self.store.outstanding(
            queues=self.config.queues,
            job_names=self.job_names(),
            within_seconds=DRAIN_HORIZON_SECONDS,
        )

    def _doubt(self) -> None:
        """After an outage we may hold what we don't know of: now, or once the database is done
        with a statement whose connection broke.
        """
        self._doubtful = True
        self._doubt_ends = time.monotonic() + DOUBT_SECONDS

    async def _recover(self) -> None:
        """Only between two commits of ours: whatever a claim brought is held by then."""
        if await self.give_back_unknown():
            self._all_hungry()
        self._doubtful = False

    # ── beside the loop ──────────────────────────────────────────────────────────────────────

    async def _listen(self) -> None:
        """Every queue may have work whenever the database changed, and now and then anyway."""
        while True:
            await self.store.database.wait_for_change(self.settings.poll_interval)
            self._all_hungry()

    async def _maintain(self) -> None:
        while True:
            try:
                staged = STAGE_LIMIT
                while staged == STAGE_LIMIT:
                    staged = await self.store.stage()
                    if staged:
                        self._all_hungry()
                await self._rescue()
            except DatabaseError as error:
                _log.warning("maintenance has to wait: %s", error)
            if time.monotonic() < self._doubt_ends:
                self._doubtful = True
                self._news.set()
            await asyncio.sleep(MAINTENANCE_SECONDS)

    async def _declare_schedules(self) -> None:
        while not self._stopping:
            try:
                return await self.declare_schedules(prune=self.settings.prune_schedules)
            except DatabaseError as error:
                _log.warning("the schedules can't be written just now, trying again: %s", error)
                await self._pause(MAINTENANCE_SECONDS)

    async def _fire_schedules(self) -> None:
        while True:
            try:
                if (await self.fire_schedules()).job_ids:
                    self._all_hungry()
            except DatabaseError as error:
                _log.warning("schedules have to wait: %s", error)
            await asyncio.sleep(MAINTENANCE_SECONDS)

    async def _rescue(self) -> None:
        rescued = await self.store.rescue()
        self.totals.rescued += len(rescued)
        for job_id, settled in rescued.items():
            _log.warning("job %s: its lease expired; it is %s now", job_id, settled.status)
        if rescued:
            self._all_hungry()

    def _all_hungry(self) -> None:
        self._hungry = set(self.config.queues)
        self._news.set()

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _wind_down(self) -> None:
        """Let handlers end, then interrupt them, and settle all that has ended."""
        self._doubtful |= time.monotonic() < self._doubt_ends  # the last time that we can ask
        try:
            await self._settle_until(self.settings.grace, or_hurried=True)
            for held in self.leases.all:
                held.stop(StopReason.SHUTDOWN)
            # An interrupted handler ends in a moment; a plain one may not listen at all.
            await self._settle_until(LAST_MOMENT_SECONDS, or_hurried=False)
        finally:
            for job in self._running.values():
                _log.warning(
                    "job %s (%s): its handler doesn't stop; the lease will expire",
                    job.id,
                    job.job_name,
                )
            for held in self.leases.all:
                # Still running, or ended and not to be written: neither may be given back.
                self.leases.drop(held.lease)

    async def _settle_until(self, seconds: float, *, or_hurried: bool) -> None:
        """Settle what ends, until nothing runs any more or time is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._running or self._ended or self._doubtful:
            if self._ended or self._doubtful:
                try:
                    await self._cycle(None)
                    continue
                except (DatabaseError, SchemaError) as error:
                    _log.warning("can't settle what has ended just now: %s", error)
                    await asyncio.sleep(0.2)
            left = deadline - loop.time()
            if left <= 0 or (or_hurried and self._hurried):
                return
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, 0.5)):
                    await self._news.wait()
