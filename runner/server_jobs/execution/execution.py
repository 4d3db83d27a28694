"""One claimed job → its outcome: decode, call, interrupt where needed, encode.

Every backend executes through here. A handler's exception becomes an outcome and is never
raised, ``SystemExit`` neither: a job doesn't end the process that it shares. What else isn't an
``Exception`` (a person's Ctrl-C, a platform that pulls the plug) passes through, and the lease
expires.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from server_jobs.database import Database
from server_jobs.definition.codec import mask_in_text
from server_jobs.definition.context import JobContext
from server_jobs.definition.definition import JobDefinition
from server_jobs.definition.held import Held, StopReason
from server_jobs.errors import CancelJob, InvalidResultError, PermanentError, RetryLater
from server_jobs.records.attempt_error import LONGEST_MESSAGE, TIMED_OUT, AttemptError
from server_jobs.records.backoff import RetryPolicy
from server_jobs.records.outcomes import (
    MAX_RELEASES,
    Abandoned,
    Completed,
    Failed,
    Outcome,
    Postponed,
    Released,
)
from server_jobs.records.rows import ClaimedJob
from server_jobs.records.text import clean, message_of


class Execution:
    """The execution of one claimed job under a held lease."""

    __slots__ = (
        "_database",
        "_definition",
        "_goes_round",
        "_job",
        "_max_releases",
        "_secrets",
        "_threads",
        "error",
        "held",
        "value",
    )

    def __init__(
        self,
        definition: JobDefinition[Any, Any],
        job: ClaimedJob,
        held: Held,
        *,
        database: Database,
        threads: Executor | None = None,
        max_releases: int = MAX_RELEASES,
        goes_round: bool = True,
    ) -> None:
        self._definition = definition
        self._job = job
        self.held = held
        self._database = database
        self._threads = threads
        self._max_releases = max_releases
        # What its caller waits for is executed once: there is no later.
        self._goes_round = goes_round
        # What no error may show: they are kept in the row, and logged.
        self._secrets: list[str] = []
        self.value: Any = None
        """What the handler returned, if the outcome is Completed."""
        self.error: Exception | None = None
        """What it raised, if anything."""

    async def run(self) -> Outcome | None:
        """Run the handler → what to write; None where the lease is lost and nothing is to be."""
        definition, job, held = self._definition, self._job, self.held
        cancellations = cancellations_of_this_task()
        try:
            params = definition.params.load(job.params)
            self._secrets = definition.params.secrets_of(params)
            context = JobContext(
                job_name=job.job_name,
                job_id=job.id,
                attempt=job.attempt_count,
                correlation_id=job.correlation_id,
                database=self._database,
                held=held,
            )
            with TimeLimit(held, job.timeout_seconds):
                value = await call_handler(definition, params, context, held, self._threads)
            self.value = definition.result.validate(value)
            result = definition.result.dump(
                self.value, max_bytes=self._database.capabilities.max_payload_bytes
            )
            return Completed(result, held.last_message)
        except asyncio.CancelledError:
            if held.stop_reason is None or cancellations_of_this_task() > cancellations:
                raise
            return self.stopped()
        except Exception as error:  # noqa: BLE001 - a handler's becomes an outcome, whatever it is
            self.error = error
            return self._raised(error)

    def stopped(self) -> Outcome | None:
        """What to write of a handler that ended because it was asked to; None where lost."""
        match self.held.stop_reason:
            case StopReason.SHUTDOWN:
                return Released(
                    f"given back more than {self._max_releases} times in a row because its worker"
                    " shut down; the job may be too long for this backend",
                    self._max_releases,
                )
            case StopReason.TIMED_OUT:
                message = (
                    f"the handler took longer than its timeout of {self._job.timeout_seconds:g} s"
                )
                return self._failed(self._attempt_error(TIMED_OUT, message))
            case StopReason.CANCELLED:
                return Abandoned(StopReason.CANCELLED.value)
            case _:  # the lease is lost: what we'd write would be refused
                return None

    def _raised(self, error: Exception) -> Outcome:
        match error:
            case RetryLater() if self._goes_round:
                return Postponed(self._said(error), error.delay_seconds)
            case CancelJob():
                return Abandoned(self._said(error))
            case _:
                # A result that doesn't fit won't fit next time, and the work has been done.
                permanent = isinstance(error, (PermanentError, InvalidResultError, RetryLater))
                return self._failed(self._describe(error), permanent=permanent)

    def _failed(self, error: AttemptError, *, permanent: bool = False) -> Failed:
        policy = self._definition.retry_policy
        if self._job.retry_policy is not None:
            policy = RetryPolicy.from_json(self._job.retry_policy)
        try:
            delay = policy.delay_seconds(self._job.attempt_count)
        except Exception as problem:  # noqa: BLE001 - a user's function; the job must not hang on it
            delay = RetryPolicy().delay_seconds(self._job.attempt_count)
            note = f" (and its retry policy raised {type(problem).__name__}: {message_of(problem)})"
            error = self._attempt_error(error.type, error.message + note, error.traceback)
        return Failed(error, permanent=permanent, delay_seconds=delay)

    def _describe(self, error: Exception) -> AttemptError:
        text = mask_in_text("".join(traceback.format_exception(error)), self._secrets)
        return self._attempt_error(type(error).__name__, self._said(error), text)

    def _said(self, error: Exception) -> str:
        return _shortened(mask_in_text(message_of(error), self._secrets))

    def _attempt_error(self, kind: str, message: str, text: str = "") -> AttemptError:
        return AttemptError.new(
            kind,
            message,
            attempt=self._job.attempt_count,
            worker=self._job.worker_id,
            traceback=text,
        )


async def call_handler(
    definition: JobDefinition[Any, Any],
    params: Any,
    context: JobContext,
    held: Held | None,
    threads: Executor | None,
) -> Any:
    """Call an async handler here, a plain one on a thread, and see it through to its end.

    A plain handler can't be interrupted: it is waited for, since only then the job is over.
    """
    cancellations = cancellations_of_this_task()
    try:
        if definition.is_async:
            return await _interruptible(definition.call(params, context), held)
        value = await _on_thread(definition.call, params, context, held, threads)
        # An async handler in a plain wrapper: what came back is still to be done.
        return await _interruptible(value, held) if inspect.isawaitable(value) else value
    except asyncio.CancelledError as error:
        asked = held is not None and held.stop_reason is not None
        if asked or cancellations_of_this_task() > cancellations:
            raise
        # Passed on, it would look as if our caller had been cancelled.
        raise RuntimeError(
            "the handler raised CancelledError, but nobody asked it to stop; something that it"
            " awaited was cancelled"
        ) from error
    except SystemExit as error:
        # Passed on, it would end the worker, and with it everybody else's handlers.
        raise RuntimeError(
            f"the handler called sys.exit({'' if error.code is None else repr(error.code)}); a job"
            " ends by returning or by raising an error, its process goes on"
        ) from error


async def _interruptible(handler: Any, held: Held | None) -> Any:
    if held is None:
        return await handler
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    interrupted = False

    def cancel() -> None:
        nonlocal interrupted
        if task is not None and not ended:
            interrupted = True
            task.cancel()

    ended = False

    def interrupt() -> None:
        loop.call_soon_threadsafe(cancel)

    held.interrupt_with(interrupt)
    try:
        return await handler
    finally:
        ended = True
        held.interrupt_with(None)
        if task is not None and interrupted:
            task.uncancel()


async def _on_thread(
    call: Callable[..., Any],
    params: Any,
    context: JobContext,
    held: Held | None,
    threads: Executor | None,
) -> Any:
    def run() -> tuple[Any, Exception | None]:
        # A returned exception: a future can't carry every kind (StopIteration would hang it).
        try:
            return call(params, context), None
        except Exception as error:  # noqa: BLE001 - raised again where the handler is awaited
            return None, error

    work = asyncio.get_running_loop().run_in_executor(threads, contextvars.copy_context().run, run)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as interruption:
            cancelled = interruption
            if held is not None:
                held.stop(StopReason.CALLER)
    value, error = work.result()
    if cancelled is not None:
        raise cancelled
    if error is not None:
        raise error
    return value


class TimeLimit:
    """Asks a handler to stop if the block takes longer than ``seconds``; None is no limit."""

    __slots__ = ("_held", "_seconds", "_timer")

    def __init__(self, held: Held, seconds: float | None) -> None:
        self._held = held
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(
                self._seconds, self._held.stop, StopReason.TIMED_OUT
            )

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


def cancellations_of_this_task() -> int:
    """How often somebody has asked this task to end, before we came or since."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _shortened(message: str) -> str:
    return clean(message)[:LONGEST_MESSAGE]
