"""The user's API: a job, and what can be done with it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

from uuid6 import uuid7

from server_jobs.context import JobContext
from server_jobs.database import DATABASE_URL_VARIABLE, Database, connect
from server_jobs.definition import JobDefinition, make_definition
from server_jobs.enqueuing import enqueue_in_transaction, new_job
from server_jobs.errors import (
    DatabaseNotConfiguredError,
    InvalidJobDefinitionError,
    InvalidOptionError,
    JobCancelledError,
    JobFailedError,
    JobNotClaimableError,
    NotStartedError,
    WaitTimeoutError,
)
from server_jobs.execution import Execution, call_handler
from server_jobs.leases import Held, LeaseKeeper, StopReason
from server_jobs.records import ClaimedJob, JobRecord, NewJob
from server_jobs.result import JobMetadata, JobResult
from server_jobs.retry import RetryPolicy
from server_jobs.schema import JobStatus
from server_jobs.store import Abandoned, Completed, Lease, Outcome, Settled, Store

if TYPE_CHECKING:
    from server_jobs.enqueuing import CallersConnection

P = TypeVar("P")
R = TypeVar("R")

DEFAULT_LEASE = 300.0
"""Seconds for which a claim holds without a heartbeat."""


class Job(Generic[P, R]):
    """A job that can be run now, later or in a batch. Made by :func:`define_job`."""

    def __init__(self, definition: JobDefinition[P, R]) -> None:
        self.definition = definition
        self._database: Database | None = None
        self._registries: list[Callable[[], Database | None]] = []
        self._from_environment: Database | None = None

    def __repr__(self) -> str:
        return f"Job({self.name!r})"

    @property
    def name(self) -> str:
        """The name in the table, by which a registry finds the job."""
        return self.definition.name

    async def __call__(self, params: P | Mapping[str, Any], context: JobContext | None = None) -> R:
        """Call the handler itself, params and result validated, for instance in a unit test."""
        definition = self.definition
        context = context or JobContext(job_name=self.name, database=self._database)
        value = await call_handler(
            definition, definition.params.validate(params), context, None, None
        )
        return definition.result.validate(value)

    # ── the database ─────────────────────────────────────────────────────────────────────────

    def set_database(self, database: Database | None) -> None:
        """Use this database, whatever a registry or the environment says."""
        self._database = database

    def fall_back_to(self, database: Callable[[], Database | None]) -> None:
        """Where else to look for a database; a registry calls this."""
        self._registries.append(database)

    @property
    def database(self) -> Database:
        """The database in use: set, else a registry's, else the environment's.

        Raises DatabaseNotConfiguredError.
        """
        if self._database is not None:
            return self._database
        for bound in self._registries:
            database = bound()
            if database is not None:
                return database
        if self._from_environment is None:
            url = os.environ.get(DATABASE_URL_VARIABLE)
            if not url:
                raise DatabaseNotConfiguredError(
                    f"{self.name} has no database: call registry.bind(connect(url)) or"
                    f" job.set_database(connect(url)), or set {DATABASE_URL_VARIABLE}"
                )
            self._from_environment = connect(url)
        return self._from_environment

    @property
    def _store(self) -> Store:
        return Store(self.database)

    # ── now ──────────────────────────────────────────────────────────────────────────────────

    async def now(
        self,
        params: P | Mapping[str, Any],
        *,
        persist: bool = True,
        lease: timedelta | float = DEFAULT_LEASE,
        correlation_id: str | None = None,
    ) -> JobResult[R]:
        """Execute here and now, once.

        With ``persist`` the record is kept like any other: running under a lease of ``lease``
        seconds, then completed or failed. Without, no database is touched.

        Raises InvalidParamsError (nothing is written then), JobFailedError or JobCancelledError
        with the handler's exception as its cause.
        """
        validated = self.definition.params.validate(params)
        if not persist:
            result = await self._run_unpersisted(validated, correlation_id)
        else:
            seconds = _lease_seconds(lease, self.name)
            worker_id = _worker_id("now")
            async with LeaseKeeper(
                self._store, worker_id=worker_id, lease_seconds=seconds
            ) as keeper:
                result = await self._run_persisted(
                    validated, keeper, worker_id, seconds, correlation_id
                )
        result.data  # noqa: B018 - raises the error, if there is one
        return result

    async def batch(
        self,
        params_list: Sequence[P | Mapping[str, Any]],
        *,
        concurrency: int = 3,
        persist: bool = True,
        stop_on_error: bool = False,
        lease: timedelta | float = DEFAULT_LEASE,
        correlation_id: str | None = None,
    ) -> list[JobResult[R]]:
        """Execute many here and now, ``concurrency`` at once → one result per input, in order.

        Never raises for a job: look at ``result.ok``. All inputs are validated before the first
        one begins (InvalidParamsError). With ``stop_on_error``, inputs that hadn't begun when one
        failed hold a NotStartedError and left no row.
        """
        if concurrency < 1:
            raise InvalidOptionError(f"{self.name}: concurrency={concurrency} must be at least 1")
        inputs = [self.definition.params.validate(params) for params in params_list]
        seconds = _lease_seconds(lease, self.name)
        worker_id = _worker_id("batch")
        not_started = NotStartedError(f"{self.name}: the batch stopped on an earlier error")
        metadata = JobMetadata(self.name, None, correlation_id=correlation_id)
        results: list[JobResult[R]] = [JobResult(metadata, error=not_started) for _ in inputs]
        remaining = iter(range(len(inputs)))
        stopped = False

        async def work(keeper: LeaseKeeper | None) -> None:
            nonlocal stopped
            for index in remaining:
                if stopped:
                    return
                if keeper is None:
                    result = await self._run_unpersisted(inputs[index], correlation_id)
                else:
                    result = await self._run_persisted(
                        inputs[index], keeper, worker_id, seconds, correlation_id
                    )
                results[index] = result
                if stop_on_error and not result.ok:
                    stopped = True

        async def work_together(keeper: LeaseKeeper | None) -> None:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(min(concurrency, len(inputs))):
                        tasks.create_task(work(keeper))
            except ExceptionGroup as group:
                # Not a job's error but the database's: one of them says it all.
                raise group.exceptions[0] from None

        if not persist:
            await work_together(None)
        else:
            async with LeaseKeeper(
                self._store, worker_id=worker_id, lease_seconds=seconds
            ) as keeper:
                await work_together(keeper)
        return results

    async def _run_unpersisted(self, params: P, correlation_id: str | None) -> JobResult[R]:
        started_at = datetime.now(UTC)
        data: R | None = None
        error: JobFailedError | None = None
        context = JobContext(
            job_name=self.name, correlation_id=correlation_id, database=self._database
        )
        try:
            data = self.definition.result.validate(
                await call_handler(self.definition, params, context, None, None)
            )
        except Exception as problem:  # noqa: BLE001 - a handler's, handed to the caller in the result
            error = _failure(self.name, None, problem)
        metadata = JobMetadata(
            self.name,
            JobStatus.COMPLETED if error is None else JobStatus.FAILED,
            attempt=1,
            correlation_id=correlation_id,
            started_at=started_at,
            completed_at=datetime.now(UTC),
        )
        return JobResult(metadata, data, error)

    async def _run_persisted(
        self,
        params: P,
        keeper: LeaseKeeper,
        worker_id: str,
        lease_seconds: float,
        correlation_id: str | None,
    ) -> JobResult[R]:
        new = self._new_job(params, correlation_id=correlation_id)
        claimed = await self._store.insert_running(
            new, worker_id=worker_id, lease_seconds=lease_seconds
        )
        return await self._execute(claimed, keeper)

    # ── later ────────────────────────────────────────────────────────────────────────────────

    async def later(
        self,
        params: P | Mapping[str, Any],
        *,
        scheduled_for: datetime | None = None,
        delay: timedelta | float | None = None,
        priority: int | None = None,
        queue: str | None = None,
        correlation_id: str | None = None,
        unique_key: str | None = None,
        max_attempts: int | None = None,
        connection: CallersConnection | None = None,
    ) -> str:
        """Enqueue for a worker → the job's id.

        Due at once, or at ``scheduled_for`` (an aware datetime), or after ``delay`` (a timedelta
        or seconds). Higher ``priority`` goes first. While a job of this name with the same
        ``unique_key`` is pending or running, its id is returned and nothing is enqueued.

        ``connection`` is a SQLAlchemy Connection, Session, AsyncConnection or AsyncSession: the
        job is inserted in its transaction, seen when that commits and gone if it rolls back.

        Raises InvalidParamsError or InvalidOptionError, having written nothing.
        """
        new = self._new_job(
            self.definition.params.validate(params),
            scheduled_for=scheduled_for,
            delay=delay,
            priority=priority,
            queue=queue,
            correlation_id=correlation_id,
            unique_key=unique_key,
            max_attempts=max_attempts,
        )
        if connection is not None:
            return (await enqueue_in_transaction([new], connection, self.database))[0]
        return (await self._store.enqueue([new]))[0]

    async def later_many(
        self,
        params_list: Sequence[P | Mapping[str, Any]],
        *,
        scheduled_for: datetime | None = None,
        delay: timedelta | float | None = None,
        priority: int | None = None,
        queue: str | None = None,
        correlation_id: str | None = None,
        max_attempts: int | None = None,
        connection: CallersConnection | None = None,
    ) -> list[str]:
        """Enqueue many in few statements, all or none → their ids, in order.

        The options are :meth:`later`'s and hold for all of them.
        """
        if not params_list:
            return []
        first = self._new_job(
            self.definition.params.validate(params_list[0]),
            scheduled_for=scheduled_for,
            delay=delay,
            priority=priority,
            queue=queue,
            correlation_id=correlation_id,
            max_attempts=max_attempts,
        )
        new = [first]
        codec, max_bytes = self.definition.params, self.database.capabilities.max_payload_bytes
        for params in params_list[1:]:
            text = codec.dump(codec.validate(params), max_bytes=max_bytes)
            new.append(replace(first, id=str(uuid7()), params=text))
        if connection is not None:
            return await enqueue_in_transaction(new, connection, self.database)
        return await self._store.enqueue(new)

    def _new_job(self, params: P, **options: Any) -> NewJob:
        return new_job(
            self.definition,
            params,
            max_bytes=self.database.capabilities.max_payload_bytes,
            **options,
        )

    # ── one record ───────────────────────────────────────────────────────────────────────────

    async def execute_from_database(
        self, job_id: str, *, fence: int | None = None, lease: timedelta | float = DEFAULT_LEASE
    ) -> JobResult[R]:
        """Execute a queued job here, as a worker would: its retry policy applies.

        Without ``fence`` the record is claimed, if it is due; with it, the claim that was made
        under that fence is taken up. The result's ``error`` says how the attempt went wrong.

        Raises JobNotClaimableError where the record isn't due or isn't held under that fence.
        """
        seconds = _lease_seconds(lease, self.name)
        worker_id = _worker_id("execute")
        store = self._store
        record = await store.get(job_id)
        if record.job_name != self.name:
            raise JobNotClaimableError(f"job {job_id} is a {record.job_name}, not a {self.name}")
        if fence is None:
            claimed = await store.claim_one(job_id, worker_id=worker_id, lease_seconds=seconds)
        else:
            claimed = await store.start(
                Lease(job_id, fence), worker_id=worker_id, lease_seconds=seconds
            )
        if claimed is None:
            record = await store.get(job_id)
            raise JobNotClaimableError(
                f"job {job_id} can't be executed: it is {record.status}, due at"
                f" {record.scheduled_for:%Y-%m-%d %H:%M:%S} UTC, at fence {record.fence}"
                + ("" if fence is None else f"; the fence given is {fence}, or it has begun")
            )
        async with self._keeper(worker_id, seconds) as keeper:
            return await self._execute(claimed, keeper)

    async def _execute(self, claimed: ClaimedJob, keeper: LeaseKeeper) -> JobResult[R]:
        store = self._store
        held = keeper.hold(claimed)
        execution = Execution(self.definition, claimed, held, database=store.database)
        started_at = datetime.now(UTC)
        try:
            settled = {}
            try:
                outcome = await execution.run()
            except asyncio.CancelledError:
                await self._settle(held, Abandoned(StopReason.CALLER.value))
                raise
            if outcome is not None:
                settled = await self._settle(held, outcome)
        finally:
            keeper.drop(claimed.id)
        state = settled.get(claimed.id)
        metadata = JobMetadata(
            self.name,
            state.status if state else None,
            job_id=claimed.id,
            attempt=claimed.attempt_count,
            correlation_id=claimed.correlation_id,
            started_at=started_at,
            completed_at=datetime.now(UTC),
        )
        if isinstance(outcome, Completed) and state is not None:
            return JobResult(metadata, execution.value)
        if state is None:
            problem: Exception = JobFailedError(
                f"{self.name} {claimed.id}: its lease was lost; somebody else may run it now",
                job_name=self.name,
                job_id=claimed.id,
            )
        elif state.status is JobStatus.CANCELLED:
            problem = JobCancelledError(
                f"{self.name} {claimed.id} was cancelled", job_name=self.name, job_id=claimed.id
            )
        else:
            problem = _failure(self.name, claimed.id, execution.error)
        return JobResult(metadata, error=problem)

    def _keeper(self, worker_id: str, lease_seconds: float) -> LeaseKeeper:
        return LeaseKeeper(self._store, worker_id=worker_id, lease_seconds=lease_seconds)

    async def _settle(self, held: Held, outcome: Outcome) -> dict[str, Settled]:
        """Write the end, even if the caller is cancelled meanwhile."""
        progress = held.take_progress()
        reports = {held.lease: progress} if progress is not None else None
        return await asyncio.shield(self._store.settle({held.lease: outcome}, reports))

    async def get(self, job_id: str) -> JobRecord:
        """The record. Raises JobNotFoundError."""
        return await self._store.get(job_id)

    async def cancel(self, job_id: str) -> JobStatus:
        """Cancel: a pending job at once, a running one as soon as its holder notices.

        Returns the status now. Raises JobNotFoundError.
        """
        return await self._store.cancel(job_id)

    async def retry(self, job_id: str) -> None:
        """Run a failed or cancelled job again. Raises JobNotFoundError, JobNotRetryableError."""
        await self._store.retry(job_id)

    async def wait(self, job_id: str, *, timeout: float | None = None) -> JobResult[R]:
        """Wait until the job has ended, for ``timeout`` seconds at most.

        Raises WaitTimeoutError and JobNotFoundError; how the job ended is in the result.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        pause = 0.01
        while True:
            record = await self._store.get(job_id)
            if record.status.finished:
                return self._result_of(record)
            left = None if deadline is None else deadline - loop.time()
            if left is not None and left <= 0:
                raise WaitTimeoutError(
                    f"{self.name} {job_id} is still {record.status} after {timeout:g} s"
                )
            await asyncio.sleep(pause if left is None else min(pause, left))
            pause = min(pause * 1.5, 0.5)

    def _result_of(self, record: JobRecord) -> JobResult[R]:
        metadata = JobMetadata(
            record.job_name,
            record.status,
            job_id=record.id,
            attempt=record.attempt_count,
            correlation_id=record.correlation_id,
            started_at=record.handler_started_at,
            completed_at=record.completed_at,
        )
        if record.status is JobStatus.COMPLETED:
            try:
                return JobResult(metadata, self.definition.result.load(record.result or "null"))
            except Exception as error:  # noqa: BLE001 - an older release's result, for the caller to see
                return JobResult(metadata, error=error)
        kind = JobCancelledError if record.status is JobStatus.CANCELLED else JobFailedError
        message = (
            f"{record.job_name} {record.id} {record.status}: {record.error or 'no reason given'}"
        )
        return JobResult(metadata, error=kind(message, job_name=record.job_name, job_id=record.id))


class _JobDecorator(Protocol):
    """What ``define_job(...)`` returns: turns a handler into a job of its types."""

    @overload
    def __call__(self, handler: Callable[[P, JobContext], Awaitable[R]], /) -> Job[P, R]: ...
    @overload
    def __call__(self, handler: Callable[[P], Awaitable[R]], /) -> Job[P, R]: ...
    @overload
    def __call__(self, handler: Callable[[P, JobContext], R], /) -> Job[P, R]: ...
    @overload
    def __call__(self, handler: Callable[[P], R], /) -> Job[P, R]: ...


@overload
def define_job(
    *,
    name: str | None = None,
    queue: str = "default",
    priority: int = 0,
    max_attempts: int = 3,
    timeout: timedelta | float | None = None,
    retry_policy: RetryPolicy | None = None,
) -> _JobDecorator: ...
@overload
def define_job(
    *,
    name: str,
    params_schema: type[P],
    result_schema: type[R],
    handler: Callable[[P, JobContext], Awaitable[R]]
    | Callable[[P], Awaitable[R]]
    | Callable[[P, JobContext], R]
    | Callable[[P], R],
    queue: str = "default",
    priority: int = 0,
    max_attempts: int = 3,
    timeout: timedelta | float | None = None,
    retry_policy: RetryPolicy | None = None,
) -> Job[P, R]: ...
def define_job(
    *,
    name: str | None = None,
    params_schema: Any = None,
    result_schema: Any = None,
    handler: Callable[..., Any] | None = None,
    queue: str = "default",
    priority: int = 0,
    max_attempts: int = 3,
    timeout: timedelta | float | None = None,
    retry_policy: RetryPolicy | None = None,
) -> Any:
    """Define a job, as a decorator or with ``handler=``.

    A handler is ``async def`` or plain ``def`` (which runs on a thread), and takes the params
    and, if it likes, a :class:`JobContext`. Schemas are read off its annotations unless they are
    given.

    ``max_attempts`` counts the first one. ``timeout`` (a timedelta or seconds) is how long one
    attempt may take; by default as long as it likes. ``retry_policy`` says how long to wait
    between attempts. ``queue`` and ``priority`` are what ``later`` uses unless told otherwise.

    Raises InvalidJobDefinitionError.
    """
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    frame = sys._getframe(1)
    local_names = frame.f_locals if frame.f_locals is not frame.f_globals else None

    def define(handler: Callable[..., Any]) -> Job[Any, Any]:
        return Job(
            make_definition(
                handler,
                name=name,
                params_schema=params_schema,
                result_schema=result_schema,
                local_names=local_names,
                queue=queue,
                priority=priority,
                max_attempts=max_attempts,
                timeout_seconds=seconds,
                retry_policy=retry_policy,
            )
        )

    if handler is not None:
        return define(handler)
    if params_schema is not None or result_schema is not None:
        raise InvalidJobDefinitionError(
            f"{name}: params_schema= and result_schema= go with handler=; a decorated function"
            " has its annotations"
        )
    return define


def _failure(job_name: str, job_id: str | None, cause: Exception | None) -> JobFailedError:
    which = f"{job_name} {job_id}" if job_id else job_name
    what = "timed out" if cause is None else f"failed: {type(cause).__name__}: {cause}"
    error = JobFailedError(f"{which} {what}", job_name=job_name, job_id=job_id)
    error.__cause__ = cause
    return error


def _lease_seconds(lease: timedelta | float, job_name: str) -> float:
    seconds = lease.total_seconds() if isinstance(lease, timedelta) else float(lease)
    if not 1 <= seconds <= 7 * 86_400:
        raise InvalidOptionError(
            f"{job_name}: a lease of {seconds} s isn't between 1 second and 7 days"
        )
    return seconds


def _worker_id(kind: str) -> str:
    return f"{kind}/{socket.gethostname()}/{os.getpid()}/{uuid7().hex[-8:]}"
