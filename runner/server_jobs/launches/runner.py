"""One leased job in a process of its own: what a pod runs.

A launcher has claimed the job and started this process with its id and fence. The first process
to ask under that fence begins the handler; any other finds nothing to do. From then on the
record is this process's to settle, whatever becomes of the launcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from server_jobs.database import Database
from server_jobs.definition.held import StopReason
from server_jobs.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailableError,
    InvalidAppError,
    JobNotFoundError,
    UnknownJobError,
)
from server_jobs.execution.execution import Execution
from server_jobs.execution.group_commit import settle_alone
from server_jobs.execution.lease_keeper import LeaseKeeper
from server_jobs.execution.reports import report
from server_jobs.launches.signals import Signals
from server_jobs.records.attempt_error import (
    APP_NOT_LOADED,
    RUNS_ELSEWHERE,
    UNKNOWN_JOB,
    AttemptError,
)
from server_jobs.records.backoff import launch_backoff
from server_jobs.records.outcomes import MAX_LAUNCH_FAILURES, MAX_RELEASES, LaunchLost, Outcome
from server_jobs.records.requests import DEFAULT_LEASE
from server_jobs.records.rows import Claim, ClaimedJob, JobRecord
from server_jobs.records.status import JobStatus
from server_jobs.registry import JobRegistry
from server_jobs.store.store import Store

_log = logging.getLogger("server_jobs.runner")

PATIENCE_SECONDS = 60.0
"""How long a database that is away is waited for before the start."""

CANCELLATION_SECONDS = 5.0
"""How often a pod looks whether its job shall be cancelled: there may be thousands of pods."""

T = TypeVar("T")

_LOOK_SECONDS = 0.25


class Ending(Enum):
    """How a run has ended."""

    SETTLED = "settled"
    NOTHING_TO_DO = "nothing to do"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """How a runner works. Times are in seconds."""

    worker_id: str
    """What it holds the lease under; no other process may have the same."""
    lease: float = DEFAULT_LEASE
    grace: float = 30.0
    """What the handler gets to end in once it is to stop; then the process leaves without it."""
    max_launch_failures: int = MAX_LAUNCH_FAILURES
    """How often the job may fail to begin before it fails."""
    max_releases: int = MAX_RELEASES
    """How often in a row it may be given back, since its pod was told to end, before it fails."""

    def __post_init__(self) -> None:
        for name, least in (("max_launch_failures", 1), ("max_releases", 0)):
            value = getattr(self, name)
            if value < least:
                raise ConfigurationError(f"{name} is {value}, it must be at least {least}")


class Runner:
    """Executes one claimed job and settles its record."""

    def __init__(
        self,
        database: Database,
        claim: Claim,
        *,
        load_registry: Callable[[], JobRegistry],
        config: RunnerConfig,
        signals: Signals | None = None,
    ) -> None:
        self._store = Store(database)
        self._claim = claim
        self._load_registry = load_registry
        self._config = config
        self._signals = signals or Signals()
        self._fields = {"job_id": claim.job_id, "fence": claim.fence}

    async def run(self) -> Ending:
        """Run the job, if it is still this fence's to run.

        Raises DatabaseError where the record can't be had or settled, and SchemaError where the
        tables aren't those of this release: then nothing is written into them.
        """
        # Connecting takes about as long as importing a small app does: both at once.
        usable = asyncio.ensure_future(_patiently(self._store.check_schema))
        await asyncio.sleep(0)
        try:
            registry = self._load_registry()
        except InvalidAppError as error:
            await usable
            return await self._lose_launch(APP_NOT_LOADED, error)
        await usable
        record = await self._record()
        if record is None or record.status is not JobStatus.RUNNING:
            is_what = "gone" if record is None else record.status
            _log.info(
                "job %s: nothing to do, it is %s",
                self._claim.job_id,
                is_what,
                extra=self._fields,
            )
            return Ending.NOTHING_TO_DO
        try:
            definition = registry.get(record.job_name).definition
        except UnknownJobError as error:
            return await self._lose_launch(UNKNOWN_JOB, error)
        if definition.runs_on not in {None, "kubernetes"}:
            return await self._lose_launch(
                RUNS_ELSEWHERE,
                ConfigurationError(
                    f"{record.job_name} is declared with runs_on={definition.runs_on!r}; enqueue it"
                    " to a queue that no JobRunner serves"
                ),
            )
        self._signals.job_begins = True
        job = await _patiently(self._start)
        if job is None:
            _log.info("job %s: nothing to do under fence %d", *self._claim, extra=self._fields)
            return Ending.NOTHING_TO_DO
        registry.bind(self._store.database)
        keeper = LeaseKeeper(
            self._store,
            worker_id=self._config.worker_id,
            lease_seconds=self._config.lease,
            look_seconds=CANCELLATION_SECONDS,
        )
        async with keeper:
            held = keeper.hold(job)
            try:
                execution = Execution(
                    definition,
                    job,
                    held,
                    database=self._store.database,
                    max_releases=self._config.max_releases,
                )
                return await self._execute(job, execution)
            finally:
                keeper.drop(job.claim)

    async def _execute(self, job: ClaimedJob, execution: Execution) -> Ending:
        began = time.monotonic()

        def say() -> None:
            text = "job %s (%s) began, attempt %d"
            _log.info(text, job.id, job.job_name, job.attempt_count, extra=self._fields)

        # Said once the handler lets the loop go on: it needn't wait for our log line.
        asyncio.get_running_loop().call_soon(say)
        watchdog = Watchdog(self._store, job, execution, self._signals, grace=self._config.grace)
        with watchdog:
            outcome = await execution.run()
            watchdog.handler_has_ended(outcome)
            if outcome is not None:
                # The work has been done: that is worth waiting out an outage for.
                outcome = await settle_alone(
                    self._store, execution.held, outcome, patience=self._config.lease
                )
        if outcome is None:
            _log.warning(
                "job %s: its lease was lost, nothing is written", job.id, extra=self._fields
            )
            return Ending.LOST
        report(job, outcome, time.monotonic() - began)
        return Ending.SETTLED

    async def _start(self) -> ClaimedJob | None:
        return await self._store.start(
            self._claim, worker_id=self._config.worker_id, lease_seconds=self._config.lease
        )

    async def _lose_launch(self, reason: str, error: Exception) -> Ending:
        """Give the job back: this image can't run it, a newer one may."""
        _log.error(
            "job %s can't be run by this image: %s",
            self._claim.job_id,
            error,
            extra=self._fields | {"reason": reason},
        )
        record = await self._record()
        cause = error.__cause__
        lost = AttemptError.new(
            reason,
            f"the image can't run the job: {error}",
            attempt=0 if record is None else record.attempt_count,
            worker=self._config.worker_id,
            traceback="".join(traceback.format_exception(cause)) if cause else "",
        )
        delay = launch_backoff(0 if record is None else record.launch_failures)
        outcome = LaunchLost(lost, delay, self._config.max_launch_failures)
        settled = await _patiently(lambda: self._store.settle({self._claim: outcome}))
        return Ending.SETTLED if settled else Ending.NOTHING_TO_DO

    async def _record(self) -> JobRecord | None:
        async def read() -> JobRecord | None:
            with contextlib.suppress(JobNotFoundError):
                return await self._store.get(self._claim.job_id)
            return None

        return await _patiently(read)


class Watchdog:
    """Sees to it that a job ends: at its time limit, on a signal, when its lease is lost.

    A thread, since a handler may block the event loop and everything on it. What is asked to stop
    has the grace period; then the record is settled without it, and the process leaves. Once the
    handler has ended, its outcome is what is written, and only a signal sets a limit to that.
    """

    def __init__(
        self,
        store: Store,
        job: ClaimedJob,
        execution: Execution,
        signals: Signals,
        *,
        grace: float,
    ) -> None:
        self._store = store
        self._job = job
        self._execution = execution
        self._signals = signals
        self._grace = grace
        self._over = threading.Event()
        self._ended: tuple[Outcome | None] | None = None

    def handler_has_ended(self, outcome: Outcome | None) -> None:
        """It may take a while until that is written: the database may be away."""
        self._ended = (outcome,)

    def __enter__(self) -> None:
        threading.Thread(target=self._watch, name="server-jobs-watchdog", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        held = self._execution.held
        limit = math.inf if self._job.timeout_seconds is None else self._job.timeout_seconds
        began = time.monotonic()
        asked_at = math.inf
        while not self._over.wait(_LOOK_SECONDS):
            now = time.monotonic()
            asked = self._signals.asked
            if self._ended is None:
                if asked:
                    held.stop(StopReason.SHUTDOWN)
                elif now - began > limit:
                    held.stop(StopReason.TIMED_OUT)  # the loop may be blocked, and its timer too
                asked = held.stop_reason is not None
            asked_at = min(asked_at, now) if asked else math.inf
            if now - asked_at > self._grace:
                return self._leave()

    def _leave(self) -> None:
        if self._ended is None:
            _log.warning("job %s doesn't stop: leaving without it", self._job.id)
        else:
            _log.warning("job %s isn't settled yet: leaving after a last try", self._job.id)
        status = 1
        try:
            outcome = self._execution.stopped() if self._ended is None else self._ended[0]
            if outcome is not None:
                asyncio.run(settle_alone(self._store, self._execution.held, outcome))
            status = 0
        except DatabaseError as error:
            _log.error("job %s can't be settled: %s", self._job.id, error)
        finally:
            logging.shutdown()
            os._exit(status)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask a database that may be away for some seconds; what is asked may safely run twice."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = 0.1
    while True:
        try:
            return await ask()
        except DatabaseUnavailableError as error:
            if time.monotonic() + pause > deadline:
                raise
            _log.warning("the database is away, trying again in %.1f s: %s", pause, error)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 5.0)
