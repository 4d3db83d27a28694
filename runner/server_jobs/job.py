"""The user's API: a job, and what can be done with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, Unpack

from server_jobs.database import DATABASE_URL_VARIABLE, Database, connect, url_from_environment
from server_jobs.definition.context import JobContext
from server_jobs.definition.definition import JobDefinition
from server_jobs.definition.enqueue import enqueue_in_transaction, new_job
from server_jobs.definition.options import EnqueueOptions
from server_jobs.definition.stop_request import StopRequest
from server_jobs.errors import (
    ConfigurationError,
    DatabaseNotConfiguredError,
    InvalidOptionError,
    JobCancelledError,
    JobFailedError,
    JobNotClaimableError,
    JobNotFoundError,
    NotStartedError,
    WaitTimeoutError,
)
from server_jobs.execution.handler_call import call_handler
from server_jobs.execution.inline import InlineHolder, holding, run_unpersisted
from server_jobs.records.ids import new_id
from server_jobs.records.requests import DEFAULT_LEASE
from server_jobs.records.rows import JobRecord, NewJob
from server_jobs.records.status import JobStatus
from server_jobs.result import JobMetadata, JobResult
from server_jobs.store.endings import Endings
from server_jobs.store.store import Store
from server_jobs.synchronous import running_loop

if TYPE_CHECKING:
    from server_jobs.definition.enqueue import CallersConnection

P = TypeVar("P")
R = TypeVar("R")


class HasDatabase(Protocol):
    """What a job needs of its registries."""

    @property
    def database(self) -> Database | None:
        """The database that was bound, if any."""

    def environment_database(self) -> Database | None:
        """Return the database that the environment names, if any."""


class Job(Generic[P, R]):
    """A job that can be run now, later or in a batch. Made by :func:`define_job`."""

    def __init__(self, definition: JobDefinition[P, R]) -> None:
        self.definition = definition
        self._database: Database | None = None
        self._registries: list[HasDatabase] = []
        self._from_environment: Database | None = None

    def __repr__(self) -> str:
        return f"Job({self.name!r})"

    @property
    def name(self) -> str:
        """The name that stands in the table and by which a registry finds the job."""
        return self.definition.name

    async def __call__(self, params: P | Mapping[str, Any], context: JobContext | None = None) -> R:
        """Call the handler itself, for instance in a unit test; params and result are validated."""
        definition = self.definition
        context = context or JobContext(job_name=self.name, database=self._database_if_any)
        value = await call_handler(
            definition, definition.params.validate(params), context, StopRequest(), None
        )
        return definition.result.validate(value)

    # ── the database ─────────────────────────────────────────────────────────────────────────

    def set_database(self, database: Database | None) -> None:
        """Use this database, whatever a registry or the environment names."""
        self._database = database

    def fall_back_to(self, registry: HasDatabase) -> None:
        """Look for a database in this registry first; ``JobRegistry.register`` calls this."""
        # The newest goes first, since a test suite puts the same job into many registries.
        self._registries.insert(0, registry)

    @property
    def database(self) -> Database:
        """The database in use: the one that was set, else a registry's, else the environment's.

        Raises DatabaseNotConfiguredError.
        """
        if self._database is not None:
            return self._database
        for registry in self._registries:
            if registry.database is not None:
                return registry.database
        for registry in self._registries:
            database = registry.environment_database()
            if database is not None:
                return database
        if self._from_environment is None:
            url = url_from_environment()
            if not url:
                raise DatabaseNotConfiguredError(
                    f"{self.name} has no database: call registry.bind(connect(url)) or"
                    f" job.set_database(connect(url)), or set {DATABASE_URL_VARIABLE}"
                )
            self._from_environment = connect(url)
        return self._from_environment

    @property
    def _database_if_any(self) -> Database | None:
        """The database for handlers that ask for one, where nothing is persisted."""
        try:
            return self.database
        except ConfigurationError:
            return None

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

        With ``persist`` the record is kept like any other: it runs under a lease of ``lease``
        seconds, and ends as completed, failed or cancelled. A handler that raises RetryLater has
        failed. Without ``persist``, no database is used.

        Raises InvalidParamsError (nothing is written then), JobFailedError or JobCancelledError
        with the handler's exception as its cause.
        """
        running_loop()
        validated = self.definition.params.validate(params)
        if not persist:
            result = await run_unpersisted(
                self.definition,
                self.definition.params.stored(validated),
                database=self._database_if_any,
                correlation_id=correlation_id,
            )
        else:
            new = self._new_job(validated, correlation_id=correlation_id)
            async with holding(self._store, "now", lease) as holder:
                result = await holder.execute(self.definition, await holder.insert(new), once=True)
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

        A failed job raises nothing here: look at ``result.ok``. All inputs are validated before the
        first one begins (InvalidParamsError). With ``stop_on_error``, no further input begins once
        one has failed; the results of those hold a NotStartedError, and they leave no row.
        """
        running_loop()
        if concurrency < 1:
            raise InvalidOptionError(f"{self.name}: concurrency={concurrency} must be at least 1")
        codec = self.definition.params
        inputs = [codec.validate(params) for params in params_list]
        if not persist:
            inputs = [codec.stored(params) for params in inputs]
        not_started = NotStartedError(f"{self.name}: the batch stopped on an earlier error")
        metadata = JobMetadata(self.name, None, correlation_id=correlation_id)
        results: list[JobResult[R]] = [JobResult(metadata, error=not_started) for _ in inputs]
        remaining = iter(range(len(inputs)))
        stopped = False

        # All rows are made before the first job begins, since making one may raise.
        records = [self._new_job(p, correlation_id=correlation_id) for p in inputs if persist]

        async def run_one(index: int, holder: InlineHolder | None) -> JobResult[R]:
            if holder is None:
                return await run_unpersisted(
                    self.definition,
                    inputs[index],
                    database=self._database_if_any,
                    correlation_id=correlation_id,
                )
            claimed = await holder.insert(records[index])
            return await holder.execute(self.definition, claimed, once=True)

        async def work(holder: InlineHolder | None) -> None:
            nonlocal stopped
            for index in remaining:
                if stopped:
                    return
                results[index] = await run_one(index, holder)
                if stop_on_error and not results[index].ok:
                    stopped = True

        async def work_together(holder: InlineHolder | None) -> None:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(min(concurrency, len(inputs))):
                        tasks.create_task(work(holder))
            except ExceptionGroup as group:
                # These are errors of the database, not of jobs; one of them is enough.
                raise group.exceptions[0] from None

        if not persist:
            await work_together(None)
        else:
            async with holding(self._store, "batch", lease) as holder:
                await work_together(holder)
        return results

    # ── later ────────────────────────────────────────────────────────────────────────────────

    async def later(
        self,
        params: P | Mapping[str, Any],
        *,
        unique_key: str | None = None,
        connection: CallersConnection | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> str:
        """Enqueue for a worker → the job's id.

        The job is due at once, or at ``scheduled_for`` (a datetime with a time zone), or after
        ``delay`` (a timedelta or seconds). ``queue``, ``priority`` (higher goes first) and
        ``max_attempts`` replace the job's own. ``correlation_id`` is kept with the record and
        given to the handler. While a job of this name with the same ``unique_key`` is pending or
        running, its id is returned and nothing is enqueued.

        ``connection`` is a SQLAlchemy Connection, Session, AsyncConnection or AsyncSession: the
        job is inserted in its transaction, seen when that commits and gone if it rolls back.

        Raises InvalidParamsError or InvalidOptionError, having written nothing.
        """
        validated = self.definition.params.validate(params)
        new = self._new_job(validated, unique_key=unique_key, **options)
        if connection is not None:
            return (await enqueue_in_transaction([new], connection, self.database))[0]
        return (await self._store.enqueue([new]))[0]

    async def later_many(
        self,
        params_list: Sequence[P | Mapping[str, Any]],
        *,
        connection: CallersConnection | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> list[str]:
        """Enqueue many in few statements, all or none → their ids, in order.

        The options are those of :meth:`later`, without ``unique_key``, and hold for all of them.

        Raises InvalidParamsError or InvalidOptionError, having written nothing.
        """
        if not params_list:
            return []
        validated = self.definition.params.validate(params_list[0])
        first = self._new_job(validated, unique_key=None, **options)
        new = [first]
        codec, max_bytes = self.definition.params, self.database.capabilities.max_payload_bytes
        for params in params_list[1:]:
            text = codec.dump(codec.validate(params), max_bytes=max_bytes)
            new.append(replace(first, id=new_id(), params=text))
        if connection is not None:
            return await enqueue_in_transaction(new, connection, self.database)
        return await self._store.enqueue(new)

    def _new_job(
        self, params: P, *, unique_key: str | None = None, **options: Unpack[EnqueueOptions]
    ) -> NewJob:
        return new_job(
            self.definition,
            params,
            max_bytes=self.database.capabilities.max_payload_bytes,
            unique_key=unique_key,
            **options,
        )

    # ── one record ───────────────────────────────────────────────────────────────────────────

    async def execute_from_database(
        self, job_id: str, *, fence: int | None = None, lease: timedelta | float = DEFAULT_LEASE
    ) -> JobResult[R]:
        """Execute a queued job here, as a worker would: its retry policy applies.

        Without ``fence`` the record is claimed, if it is due; with it, the claim that was made
        under that fence is taken up. The result's ``error`` says how the attempt went wrong.
        A caller that is cancelled gives the job back.

        Raises JobNotClaimableError where the record isn't due or isn't held under that fence.
        """
        running_loop()
        record = await self._store.get(job_id)
        if record.job_name != self.name:
            raise JobNotClaimableError(f"job {job_id} is a {record.job_name}, not a {self.name}")
        async with holding(self._store, "execute", lease) as holder:
            claimed = await holder.claim(job_id, fence)
            if claimed is not None:
                return await holder.execute(self.definition, claimed, once=False)
        record = await self._store.get(job_id)
        raise JobNotClaimableError(
            f"job {job_id} can't be executed: it is {record.status}, due at"
            f" {record.scheduled_for:%Y-%m-%d %H:%M:%S} UTC, at fence {record.fence}"
            + ("" if fence is None else f"; the fence given is {fence}, or it has begun")
        )

    async def get(self, job_id: str) -> JobRecord:
        """Return the record. Raises JobNotFoundError, also for a job of another name."""
        record = await self._store.get(job_id)
        if record.job_name != self.name:
            raise JobNotFoundError(
                f"there is no {self.name} job {job_id}: it is a {record.job_name}"
            )
        return record

    async def cancel(self, job_id: str) -> JobStatus:
        """Cancel a pending job at once, a running one as soon as its holder notices.

        Returns the status that the job has now. Raises JobNotFoundError.
        """
        await self.get(job_id)
        return await self._store.cancel(job_id)

    async def retry(self, job_id: str) -> None:
        """Run a failed or cancelled job again. Raises JobNotFoundError, JobNotRetryableError."""
        await self.get(job_id)
        await self._store.retry(job_id)

    async def wait(self, job_id: str, *, timeout: float | None = None) -> JobResult[R]:
        """Wait until the job has ended, for ``timeout`` seconds at most.

        Raises WaitTimeoutError and JobNotFoundError; how the job ended is in the result.
        """
        loop = running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while True:
            record = await self.get(job_id)
            if record.status.finished:
                return self._result_of(record)
            if deadline is not None and loop.time() >= deadline:
                raise WaitTimeoutError(
                    f"{self.name} {job_id} is still {record.status} after {timeout:g} s"
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await Endings.of(self.database).wait(job_id)

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
