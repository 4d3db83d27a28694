"""The local worker: a long-running process that executes jobs in itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from server_jobs.backend.protocol import WorkerBackendConfig
from server_jobs.backend.work_loop import WorkLoop
from server_jobs.database import Database
from server_jobs.definition.stop_request import StopReason
from server_jobs.errors import ConfigurationError, DatabaseError
from server_jobs.execution.group_commit import Over
from server_jobs.execution.reports import report
from server_jobs.records.outcomes import Completed, Failed, Outcome
from server_jobs.records.rows import Claim, ClaimedJob
from server_jobs.registry import JobRegistry
from server_jobs.store.retention import (
    DAY,
    KEEP_CANCELLED,
    KEEP_COMPLETED,
    KEEP_FAILED,
    Keep,
    Retention,
)
from server_jobs.store.store import STAGE_LIMIT

_log = logging.getLogger("server_jobs.worker")

MAINTENANCE_SECONDS = 1.0
"""How often due jobs are staged and expired leases rescued."""

LAST_MOMENT_SECONDS = 3.0
"""How long interrupted handlers may take to end, so that their jobs can be given back."""

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


class LocalWorker(WorkLoop):
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
        self._stopping = False
        self._hurried = False
        self._interrupted = False
        self._retention = Retention(self.store, self.settings.keep)

    @property
    def handler_threads(self) -> ThreadPoolExecutor:
        """One thread for each job at once."""
        return self._threads

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
            request = self._next_claim()
            try:
                if request is not None or self._ended or self._doubtful:
                    await self._cycle(request)
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

    def _free(self) -> int:
        return 0 if self._stopping else super()._free()

    def _begun(self, job: ClaimedJob) -> None:
        self.totals.claimed += 1

    def _has_ended(self, job: ClaimedJob, outcome: Outcome, began: float) -> Outcome:
        report(job, outcome, time.monotonic() - began)
        return outcome

    def _settled(self, claim: Claim, over: Over) -> None:
        self._count(over.accepted)

    def _lost(self, job: ClaimedJob, began: float) -> None:
        self.totals.lost += 1
        _log.warning(
            "job %s (%s): the lease was lost, its handler is stopped", job.id, job.job_name
        )

    def _broke_off(self, job: ClaimedJob, error: BaseException) -> None:
        _log.error("job %s: its execution broke off", job.id, exc_info=error)

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
            if self._in_doubt:
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

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _wind_down(self) -> None:
        """Let handlers end, then interrupt them, and settle all that has ended."""
        self._doubtful = self._in_doubt  # the last time that we can ask
        try:
            await self._settle_until(self.settings.grace)
            self._interrupted = True
            for held in self.leases.all:
                held.stop_request.make(StopReason.SHUTDOWN)
            # An interrupted handler ends in a moment; a plain one may not listen at all.
            await self._settle_until(LAST_MOMENT_SECONDS)
        finally:
            for job in self._running.values():
                _log.warning(
                    "job %s (%s): its handler doesn't stop; the lease will expire",
                    job.id,
                    job.job_name,
                )
            for held in self.leases.all:
                # Still running, or ended and not to be written: neither may be given back.
                self.leases.drop(held.claim)

    def _enough(self) -> bool:
        return self._hurried and not self._interrupted
