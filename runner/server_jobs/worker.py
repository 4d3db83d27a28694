"""The local worker: a long-running process that executes jobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from server_jobs.backend.base import BaseWorkerBackend
from server_jobs.backend.protocol import WorkerBackendConfig
from server_jobs.backend.upkeep import MAINTENANCE_SECONDS, Upkeep
from server_jobs.backend.work_loop import WorkLoop
from server_jobs.children import apart_from_children
from server_jobs.database import Database
from server_jobs.definition.stop_request import StopReason
from server_jobs.errors import ConfigurationError, DatabaseError, DataRefusedError
from server_jobs.execution.group_commit import Over
from server_jobs.execution.own_task import OwnTask
from server_jobs.execution.reports import report
from server_jobs.monitoring.server_facts import hidden_tables
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

_log = logging.getLogger("server_jobs.worker")

LAST_MOMENT_SECONDS = 3.0
"""How long interrupted handlers may take to end. After that, their jobs aren't given back."""

DRAIN_HORIZON_SECONDS = 60.0
"""A draining worker waits for jobs that become due within this."""


@dataclass(frozen=True, slots=True)
class WorkerConfig(WorkerBackendConfig):
    """How the local worker works. Times are in seconds. Records with ``None`` are kept for ever.

    With ``schedules``, it writes the registry's schedules into the table when it starts, and fires
    all schedules that are due. ``prune_schedules`` disables schedules that the registry no longer
    declares. Raises ConfigurationError for values that make no sense.
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
    """How many jobs a worker has claimed so far, and how their executions ended.

    ``other`` counts those that were given back, postponed or cancelled, and ``lost`` those whose
    lease was lost. ``rescued`` counts jobs of any worker whose expired lease this one took back.
    """

    claimed: int = 0
    completed: int = 0
    failed: int = 0
    other: int = 0
    lost: int = 0
    rescued: int = 0


class LocalWorker(BaseWorkerBackend):
    """Executes jobs in this process until it is stopped.

    ::

        worker = LocalWorker(database=connect(url), job_registry=registry)
        await worker.run_until_stopped()

    It claims jobs in batches as slots become free, and settles them in groups. ``stop()`` ends it:
    nothing more is claimed, and handlers have ``grace`` seconds to finish; then they are
    interrupted and their jobs given back. A second ``stop()`` skips the grace period.
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
        tally = _Tally(self.totals)
        self._loop = WorkLoop(self, tally)
        self._upkeep = Upkeep(self, self._loop, tally.rescued)
        self._retention = Retention(self.store, self.settings.keep)
        self.has_begun = False
        """Whether it may have claimed a job. Until then its process may end at any moment."""
        self._hurried = False
        self._broken: BaseException | None = None

    @property
    def handler_threads(self) -> ThreadPoolExecutor:
        """The threads that plain handlers run on, one for each of ``concurrency``."""
        return self._threads

    @property
    def running(self) -> list[ClaimedJob]:
        """The jobs whose handlers run; after the end, those whose handlers didn't stop."""
        return self._loop.running

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def run_until_stopped(self) -> WorkerTotals:
        """Work until ``stop()`` is called or, with ``drain``, until the queues are empty.

        Cancelling it stops the worker without the grace period. Raises SchemaError where the tables
        can't be used.
        """
        with apart_from_children():
            return await self._run_until_stopped()

    async def _run_until_stopped(self) -> WorkerTotals:
        await self.initialize()
        self.has_begun = True
        _log.info(
            "worker %s serves %s with %d at once on %r",
            self.worker_id,
            ", ".join(self.config.queues),
            self.config.concurrency,
            self.store.database,
        )
        await self._say_what_is_hidden()
        if self.settings.schedules:
            await self._declare_schedules()
        helpers = self._start_helpers()
        work = OwnTask(self._work(), name="work")
        try:
            try:
                await asyncio.shield(work)
            except BaseException:
                self._loop.stopping = self._hurried = True
                self._loop.wake()
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

    def stop(self) -> None:
        """Claim nothing more and let running handlers finish. The second call skips the grace.

        Call it on the event loop's thread, for instance in a signal handler of the loop.
        """
        self._hurried = self._loop.stopping
        self._loop.stopping = True
        self._loop.wake()

    async def shutdown(self) -> None:
        """Give back the jobs that were claimed and not begun, and let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(DatabaseError):  # what can't be given back expires
            await super().shutdown()

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    async def _work(self) -> None:
        """Run one cycle after the other as long as there is work."""
        pause = 0.0
        while not self._loop.stopping:
            request = self._loop.next_claim()
            try:
                if request is not None or self._loop.needs_cycle:
                    await self._loop.cycle(request)
                elif await self._drained():
                    return
                else:
                    await self._loop.news()
                pause = 0.0
            except DatabaseError as error:
                pause = min(max(pause * 2, 0.1), 5.0)
                _log.warning("the database fails, trying again in %.1f s: %s", pause, error)
                self._loop.doubt()
                await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until the worker is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._loop.stopping:
                    await self._loop.news()

    async def _drained(self) -> bool:
        """Return whether a draining worker is done."""
        if not self.settings.drain or self._loop.running or self._loop.has_outcomes:
            return False
        return not await self.store.outstanding(
            queues=self.config.queues,
            job_names=self.job_names(),
            within_seconds=DRAIN_HORIZON_SECONDS,
        )

    # ── beside the loop ──────────────────────────────────────────────────────────────────────

    def _start_helpers(self) -> list[OwnTask[None]]:
        work: dict[str, Coroutine[Any, Any, None]] = {
            "listen": self._upkeep.listen(self.settings.poll_interval),
            "maintain": self._upkeep.maintain(),
            "prune": self._retention.run(self.settings.prune_interval),
        }
        if self.settings.schedules:
            work["schedules"] = self._upkeep.fire_schedules()
        helpers = [OwnTask(each, name=name) for name, each in work.items()]
        for helper in helpers:
            helper.add_done_callback(self._helper_ended)
        return helpers

    def _helper_ended(self, helper: asyncio.Task[None]) -> None:
        """Stop the worker: without its helpers it would look alive and find no jobs."""
        if not helper.cancelled():
            self._broken = helper.exception()
            self.stop()

    async def _say_what_is_hidden(self) -> None:
        try:
            hidden = await hidden_tables(self.store.database)
        except DatabaseError as error:
            _log.warning("whether rows are hidden can't be read just now: %s", error)
            return
        if hidden:
            _log.warning(
                "row level security hides rows of %s from this worker's role: it works only on what"
                " policies show (ALTER ROLE … BYPASSRLS, or a policy that shows all rows)",
                " and ".join(hidden),
            )

    async def _declare_schedules(self) -> None:
        while not self._loop.stopping:
            try:
                return await self.declare_schedules(prune=self.settings.prune_schedules)
            except DataRefusedError:
                return None  # it has been told which; the others are written
            except DatabaseError as error:
                _log.warning("the schedules can't be written just now, trying again: %s", error)
                await self._pause(MAINTENANCE_SECONDS)

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _last_answer(self, work: asyncio.Task[None]) -> None:
        """Wait for the answer to what is under way: it is committed even if nobody waits for it."""
        try:
            await asyncio.wait({work}, timeout=LAST_MOMENT_SECONDS)
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            if work.cancelled():
                self._loop.doubt()

    async def _wind_down(self) -> None:
        """Let handlers end, then interrupt them, and settle all that has ended."""
        self._loop.look_again()  # the last time that we can ask
        try:
            await self._loop.settle_until_idle(self.settings.grace, enough=lambda: self._hurried)
            for held in self.leases.all:
                held.stop_request.make(StopReason.SHUTDOWN)
            # An interrupted handler ends in a moment; a plain one may not listen at all.
            await self._loop.settle_until_idle(LAST_MOMENT_SECONDS)
        finally:
            for job in self._loop.running:
                _log.warning(
                    "job %s (%s): its handler doesn't stop; the lease will expire",
                    job.id,
                    job.job_name,
                )
            for held in self.leases.all:
                # Still running, or ended and not to be written: neither may be given back.
                self.leases.drop(held.claim)


class _Tally:
    """Counts and logs what a work loop tells its observer."""

    def __init__(self, totals: WorkerTotals) -> None:
        self._totals = totals

    def job_began(self, job: ClaimedJob) -> None:
        self._totals.claimed += 1

    def job_ended(self, job: ClaimedJob, outcome: Outcome, seconds: float) -> None:
        report(job, outcome, seconds)

    def job_settled(self, claim: Claim, over: Over) -> None:
        match over.accepted:
            case None:
                self._totals.lost += 1
            case Completed():
                self._totals.completed += 1
            case Failed():
                self._totals.failed += 1
            case _:
                self._totals.other += 1

    def lease_lost(self, job: ClaimedJob, seconds: float) -> None:
        self._totals.lost += 1
        _log.warning(
            "job %s (%s): the lease was lost, its handler is stopped", job.id, job.job_name
        )

    def execution_broke(self, job: ClaimedJob, error: BaseException) -> None:
        _log.error("job %s: its execution broke off", job.id, exc_info=error)

    def rescued(self, count: int) -> None:
        self._totals.rescued += count
