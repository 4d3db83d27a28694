"""Executes jobs in their caller's process, for ``now``, ``batch`` and ``execute_from_database``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from server_jobs.database import Database
from server_jobs.definition.context import JobContext, attach
from server_jobs.definition.definition import JobDefinition
from server_jobs.definition.held import Held
from server_jobs.definition.options import seconds_of
from server_jobs.definition.stop_request import StopReason, StopRequest
from server_jobs.errors import (
    CancelJob,
    InvalidOptionError,
    JobCancelledError,
    JobFailedError,
    ServerJobsError,
)
from server_jobs.execution.execution import Execution, ExecutionEnvironment, broken_off
from server_jobs.execution.group_commit import settle_alone
from server_jobs.execution.handler_call import TimeLimit, call_handler
from server_jobs.execution.lease_keeper import LeaseKeeper
from server_jobs.execution.own_task import cancellations_of_this_task, is_current
from server_jobs.execution.raised import signal_of
from server_jobs.records.attempt_error import TIMED_OUT
from server_jobs.records.ids import new_worker_id
from server_jobs.records.outcomes import Abandoned, Completed, Failed, Outcome, Released
from server_jobs.records.rows import Claim, ClaimedJob, NewJob
from server_jobs.records.status import JobStatus
from server_jobs.records.text import message_of
from server_jobs.result import JobMetadata, JobResult
from server_jobs.store.store import Store

R = TypeVar("R")
T = TypeVar("T")


async def run_unpersisted(
    definition: JobDefinition[Any, R],
    params: Any,
    *,
    database: Database | None,
    correlation_id: str | None,
) -> JobResult[R]:
    """Run a handler without a record → its result, or how it failed.

    Raises CancelledError only where the caller's task is cancelled.
    """
    started_at = datetime.now(UTC)
    task, cancellations = asyncio.current_task(), cancellations_of_this_task()
    status = JobStatus.COMPLETED
    data: R | None = None
    error: JobFailedError | None = None
    stop_request = StopRequest()
    context = JobContext(job_name=definition.name, correlation_id=correlation_id, database=database)
    attach(context, stop_request)
    try:
        with TimeLimit(stop_request, definition.timeout_seconds):
            value = await call_handler(definition, params, context, stop_request, None)
        data = definition.result.stored(definition.result.validate(value))
    except BaseException as problem:
        if isinstance(problem, KeyboardInterrupt) or not is_current(task):
            raise  # it may be a person's Ctrl-C; or Python closes this coroutine
        if cancellations_of_this_task() > cancellations:
            if isinstance(problem, asyncio.CancelledError):
                raise
            raise asyncio.CancelledError(*problem.args) from problem
        stopped = stop_request.reason is not None
        signal = signal_of(problem)
        if isinstance(signal, CancelJob):
            status, error = JobStatus.CANCELLED, _cancelled(definition.name, None, signal)
        else:
            status = JobStatus.FAILED
            error = _failure(definition.name, None, problem, timed_out=stopped)
    metadata = JobMetadata(
        definition.name,
        status,
        attempt=1,
        correlation_id=correlation_id,
        started_at=started_at,
        completed_at=datetime.now(UTC),
    )
    return JobResult(metadata, data, error)


class InlineHolder:
    """Claims jobs, executes and settles them, for one call. Made by :func:`holding`."""

    def __init__(self, store: Store, keeper: LeaseKeeper, lease_seconds: float) -> None:
        self._store = store
        self._keeper = keeper
        self._lease_seconds = lease_seconds

    async def insert(self, new: NewJob) -> ClaimedJob:
        """Insert a record that is claimed from the start → the claimed job."""
        inserting = self._store.insert_running(
            new, worker_id=self._keeper.worker_id, lease_seconds=self._lease_seconds
        )
        return await self._taken(inserting, Abandoned(StopReason.CALLER.value))

    async def claim(self, job_id: str, fence: int | None) -> ClaimedJob | None:
        """Claim a record → the claimed job, or None where it can't be claimed.

        Without a fence, the record must be due. With one, the claim that was made under it is taken
        over, if its handler hasn't begun.
        """
        worker_id, seconds = self._keeper.worker_id, self._lease_seconds
        if fence is None:
            claiming = self._store.claim_one(job_id, worker_id=worker_id, lease_seconds=seconds)
        else:
            claiming = self._store.start(
                Claim(job_id, fence), worker_id=worker_id, lease_seconds=seconds
            )
        return await self._taken(claiming, Released(StopReason.CALLER.value))

    async def execute(
        self, definition: JobDefinition[Any, R], job: ClaimedJob, *, once: bool
    ) -> JobResult[R]:
        """Execute a claimed job and settle it → its result, or how it failed.

        ``once`` is for a job that nobody else can execute. If the caller is cancelled, such a job
        ends as cancelled, and a job from a queue is given back to it. KeyboardInterrupt, which may
        be a person's Ctrl-C, fails the attempt and is raised again.
        """
        held = self._keeper.hold(job)
        environment = ExecutionEnvironment(self._store.database, once=once)
        execution = Execution(definition, job, held, environment)
        reason = StopReason.CALLER.value
        started_at = datetime.now(UTC)
        accepted: Outcome | None = None
        try:
            try:
                outcome = await execution.run()
            except asyncio.CancelledError:
                await self._settle(held, Abandoned(reason) if once else Released(reason))
                raise
            except Exception as error:  # a bug of ours: nobody else would end the attempt
                await self._settle(held, broken_off(job, error))
                raise
            if outcome is not None:
                accepted = await self._settle(held, outcome)
        finally:
            self._keeper.drop(held.claim)
        if isinstance(execution.error, KeyboardInterrupt):
            raise execution.error
        status = None
        if isinstance(accepted, Completed):
            status = JobStatus.COMPLETED
        elif accepted is not None:
            status = (await self._store.get(job.id)).status
        metadata = JobMetadata(
            definition.name,
            status,
            job_id=job.id,
            attempt=job.attempt_count,
            correlation_id=job.correlation_id,
            started_at=started_at,
            completed_at=datetime.now(UTC),
        )
        if isinstance(accepted, Completed):
            # As it was stored, which is what `wait` returns for a job of a worker.
            return JobResult(metadata, definition.result.load(accepted.result))
        problem = _problem(definition.name, job.id, status, accepted, execution.error)
        return JobResult(metadata, error=problem)

    async def _taken(self, taking: Coroutine[Any, Any, T], otherwise: Outcome) -> T:
        """Return what a claim brings.

        If the caller is cancelled meanwhile, the job that it brings is settled by ``otherwise``.
        """
        claim = asyncio.ensure_future(taking)
        try:
            return await asyncio.shield(claim)
        except asyncio.CancelledError:
            with contextlib.suppress(ServerJobsError):
                job = await claim
                if isinstance(job, ClaimedJob):
                    await self._settle(Held(job.claim), otherwise)
            raise

    async def _settle(self, held: Held, outcome: Outcome) -> Outcome | None:
        """Settle a job, even if the caller is cancelled meanwhile."""
        return await asyncio.shield(settle_alone(self._store, held, outcome))


@contextlib.asynccontextmanager
async def holding(store: Store, kind: str, lease: timedelta | float) -> AsyncIterator[InlineHolder]:
    """Keep leases within this block, under a new worker id. Raises InvalidOptionError."""
    seconds = seconds_of(lease, "lease", kind)
    if not 1 <= seconds <= 7 * 86_400:
        raise InvalidOptionError(f"a lease of {seconds} s isn't between 1 second and 7 days")
    async with LeaseKeeper(store, worker_id=new_worker_id(kind), lease_seconds=seconds) as keeper:
        yield InlineHolder(store, keeper, seconds)


def _problem(
    job_name: str,
    job_id: str,
    status: JobStatus | None,
    accepted: Outcome | None,
    cause: BaseException | None,
) -> JobFailedError:
    if accepted is None:
        return JobFailedError(
            f"{job_name} {job_id}: its lease was lost; somebody else may run it now",
            job_name=job_name,
            job_id=job_id,
        )
    if status is JobStatus.CANCELLED:
        return _cancelled(job_name, job_id, cause)
    timed_out = isinstance(accepted, Failed) and accepted.error.type == TIMED_OUT
    if cause is None and isinstance(accepted, Failed) and not timed_out:
        message = f"{job_name} {job_id} failed: {accepted.error.message}"
        return JobFailedError(message, job_name=job_name, job_id=job_id)
    return _failure(job_name, job_id, cause, timed_out=timed_out)


def _failure(
    job_name: str, job_id: str | None, cause: BaseException | None, *, timed_out: bool
) -> JobFailedError:
    raised = "" if cause is None else f"{type(cause).__name__}: {message_of(cause)}"
    if timed_out or cause is None:
        what = f"timed out; asked to stop, it raised {raised}" if raised else "timed out"
    else:
        what = f"failed: {raised}"
    error = JobFailedError(f"{_which(job_name, job_id)} {what}", job_name=job_name, job_id=job_id)
    error.__cause__ = cause
    return error


def _cancelled(job_name: str, job_id: str | None, cause: BaseException | None) -> JobCancelledError:
    why = "" if cause is None else f": {message_of(signal_of(cause) or cause)}"
    error = JobCancelledError(
        f"{_which(job_name, job_id)} was cancelled{why}", job_name=job_name, job_id=job_id
    )
    error.__cause__ = cause
    return error


def _which(job_name: str, job_id: str | None) -> str:
    return f"{job_name} {job_id}" if job_id else job_name
