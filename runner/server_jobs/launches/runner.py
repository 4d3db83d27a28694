"""Executes one claimed job in a process of its own, as a pod does.

A launcher has claimed the job and started this process with the job's id and fence. The first
process that asks under this fence begins the handler; any other one finds nothing to do. From then
on this process settles the record, whatever becomes of the launcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeVar

from server_jobs.database import Database
from server_jobs.definition.definition import JobDefinition
from server_jobs.definition.held import Held
from server_jobs.definition.stop_request import StopReason
from server_jobs.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailableError,
    InvalidAppError,
    JobNotFoundError,
    UnknownJobError,
)
from server_jobs.execution.execution import Execution, ExecutionEnvironment, broken_off
from server_jobs.execution.group_commit import settle_alone
from server_jobs.execution.lease_keeper import LeaseKeeper, LeaseKeeping
from server_jobs.execution.own_task import OwnTask, cancellations_of_this_task, is_current
from server_jobs.execution.reports import report
from server_jobs.launches.end_request import EndRequest
from server_jobs.launches.watchdog import Watchdog
from server_jobs.records.attempt_error import (
    APP_NOT_LOADED,
    RUNS_ELSEWHERE,
    UNKNOWN_JOB,
    AttemptError,
)
from server_jobs.records.backoff import launch_backoff
from server_jobs.records.names import check_worker_id
from server_jobs.records.outcomes import MAX_LAUNCH_FAILURES, MAX_RELEASES, LaunchLost, Released
from server_jobs.records.requests import DEFAULT_LEASE
from server_jobs.records.rows import Claim, ClaimedJob, JobRecord
from server_jobs.records.status import JobStatus
from server_jobs.records.text import traceback_of
from server_jobs.registry import JobRegistry
from server_jobs.store.store import Store

_log = logging.getLogger("server_jobs.runner")

PATIENCE_SECONDS = 60.0
"""How long a runner waits for a database that is away, before it begins the handler."""

CANCELLATION_SECONDS = 5.0
"""How often a pod looks for a requested cancellation. There may be thousands of pods."""

T = TypeVar("T")


class Ending(Enum):
    """How a run has ended."""

    SETTLED = "settled"
    NOTHING_TO_DO = "nothing to do"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """How a runner works. Times are in seconds."""

    worker_id: str
    """The name under which it holds the lease. No other process may have the same one."""
    lease: float = DEFAULT_LEASE
    grace: float = 30.0
    """How long a handler that is asked to stop has to end. After that the process ends anyway."""
    max_launch_failures: int = MAX_LAUNCH_FAILURES
    """How many launches of the job may fail before the job fails."""
    max_releases: int = MAX_RELEASES
    """How often in a row the job may be given back because its pod was told to end."""

    def __post_init__(self) -> None:
        check_worker_id(self.worker_id)
        for name, least in (("max_launch_failures", 1), ("max_releases", 0)):
            value = getattr(self, name)
            if value < least:
                raise ConfigurationError(f"{name} is {value}; it must be at least {least}")


class Runner:
    """Executes one claimed job and settles its record."""

    def __init__(
        self,
        database: Database,
        claim: Claim,
        *,
        load_registry: Callable[[], JobRegistry],
        config: RunnerConfig,
        end_request: EndRequest | None = None,
    ) -> None:
        self._store = Store(database)
        self._claim = claim
        self._load_registry = load_registry
        self._config = config
        self._end_request = end_request or EndRequest()
        self._fields = {"job_id": claim.job_id, "fence": claim.fence}

    async def run(self) -> Ending:
        """Run the job if it is still claimed under this fence, and settle it → how that went.

        Raises DatabaseError where the record can't be read or settled, and SchemaError where the
        tables are of another release; then nothing is written into them. If the caller is
        cancelled, the job is given back.
        """
        # Connecting takes about as long as importing a small app: do both at once.
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
        self._end_request.job_begins = True
        job = await _patiently(self._start)
        if job is None:
            _log.info("job %s: nothing to do under fence %d", *self._claim, extra=self._fields)
            return Ending.NOTHING_TO_DO
        registry.bind(self._store.database)
        return await self._execute_held(definition, job)

    async def _execute_held(self, definition: JobDefinition[Any, Any], job: ClaimedJob) -> Ending:
        """Execute a job whose lease is kept meanwhile."""
        keeper = LeaseKeeper(
            self._store,
            worker_id=self._config.worker_id,
            lease_seconds=self._config.lease,
            keeping=LeaseKeeping(look_seconds=CANCELLATION_SECONDS),
        )
        async with keeper:
            held = keeper.hold(job)
            try:
                environment = ExecutionEnvironment(
                    self._store.database, max_releases=self._config.max_releases
                )
                return await self._execute(job, Execution(definition, job, held, environment))
            finally:
                keeper.drop(job.claim)

    async def _execute(self, job: ClaimedJob, execution: Execution) -> Ending:
        began = time.monotonic()

        def say() -> None:
            text = "job %s (%s) began, attempt %d"
            _log.info(text, job.id, job.job_name, job.attempt_count, extra=self._fields)

        # Logged once the handler first awaits something: it needn't wait for a log line.
        asyncio.get_running_loop().call_soon(say)
        watchdog = Watchdog(
            self._store, job, execution, self._end_request, grace=self._config.grace
        )
        task, cancellations = asyncio.current_task(), cancellations_of_this_task()
        with watchdog:
            try:
                # In a task of its own, so that the handler can't cancel this one.
                outcome = await OwnTask(execution.run(), name=f"job {job.id}", executes=True)
            except BaseException as error:  # the attempt fails at once
                if not is_current(task):
                    raise  # the loop is gone, and Python closes this coroutine
                if cancellations_of_this_task() > cancellations:
                    await self._give_back(execution.held)
                    raise
                _log.error("job %s: its execution broke off", job.id, exc_info=error)
                outcome = broken_off(job, error)
            watchdog.handler_has_ended(outcome)
            if outcome is not None:
                # The work has been done, so wait out an outage to write it.
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

    async def _give_back(self, held: Held) -> None:
        """Give the job back, since the caller is cancelled; in an outage its lease expires."""
        try:
            await settle_alone(
                self._store, held, Released(StopReason.CALLER.value, self._config.max_releases)
            )
        except DatabaseError as error:
            text = "job %s can't be given back, its lease will expire: %s"
            _log.error(text, held.claim.job_id, error, extra=self._fields)

    async def _start(self) -> ClaimedJob | None:
        return await self._store.start(
            self._claim, worker_id=self._config.worker_id, lease_seconds=self._config.lease
        )

    async def _lose_launch(self, reason: str, error: Exception) -> Ending:
        """Give the job back, since this image can't run it: a newer one may."""
        cause = error.__cause__
        lost = AttemptError.new(
            reason,
            f"the image can't run the job: {error}",
            worker=self._config.worker_id,
            traceback=traceback_of(cause) if cause else "",
        )
        fields = self._fields | {"reason": reason}
        if lost.traceback:
            fields["traceback"] = lost.traceback
        text = "job %s can't be run by this image: %s"
        _log.error(text, self._claim.job_id, error, extra=fields)
        failures = 0
        record = await self._record()
        if record is not None:
            lost = replace(lost, attempt=record.attempt_count)
            failures = record.launch_failures
        delay = launch_backoff(failures)
        outcome = LaunchLost(lost, delay, self._config.max_launch_failures)
        settled = await _patiently(lambda: self._store.settle({self._claim: outcome}))
        return Ending.SETTLED if settled else Ending.NOTHING_TO_DO

    async def _record(self) -> JobRecord | None:
        async def read() -> JobRecord | None:
            with contextlib.suppress(JobNotFoundError):
                return await self._store.get(self._claim.job_id)
            return None

        return await _patiently(read)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Await ``ask``, again and again while the database is away. It may run twice."""
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
