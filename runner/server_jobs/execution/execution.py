"""One claimed job → its outcome: decode params, call the handler, encode its result.

Every backend executes jobs here. Whatever the handler raises becomes an outcome at once, also what
isn't an ``Exception``: a job doesn't end the process that it shares with others. What it raises
after it was asked to stop is taken for the end that was asked for. One thing passes through, so
that the lease expires: the exception by which a platform ends a process of ours.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from server_jobs.database import Database
from server_jobs.definition.codec import mask_in_text
from server_jobs.definition.context import JobContext, attach
from server_jobs.definition.definition import JobDefinition
from server_jobs.definition.held import Held
from server_jobs.definition.stop_request import StopReason
from server_jobs.errors import (
    CancelJob,
    InvalidResultError,
    JobSignal,
    PermanentError,
    RetryLater,
)
from server_jobs.execution.handler_call import TimeLimit, call_handler
from server_jobs.execution.own_task import cancellations_of_this_task, is_current
from server_jobs.execution.raised import leaves_of, shortest_wait, signal_of
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
from server_jobs.records.text import clean, message_of, traceback_of


@dataclass(frozen=True, slots=True)
class ExecutionEnvironment:
    """What the executions of one process share."""

    database: Database
    """The database that handlers are given."""
    threads: Executor | None = None
    """Where plain handlers run. None is the event loop's default executor."""
    max_releases: int = MAX_RELEASES
    """How often in a row a job may be given back before it fails."""
    once: bool = False
    """Whether a caller waits for the job, so that ``RetryLater`` fails it: there is no later."""
    ended_by_exceptions: bool = False
    """Whether the platform ends the process by an exception that isn't an ``Exception``, raised
    anywhere. Such a one is nothing of a handler's: nothing more may be done.
    """

    def passes(self, error: BaseException) -> bool:
        """Return whether the platform may have raised it, or one that is in this group."""
        return self.ended_by_exceptions and not all(
            isinstance(each, (Exception, SystemExit, asyncio.CancelledError))
            for each in leaves_of(error)
        )


class Execution:
    """The execution of one claimed job under a held lease."""

    __slots__ = ("_definition", "_environment", "_job", "_secrets", "error", "held")

    def __init__(
        self,
        definition: JobDefinition[Any, Any],
        job: ClaimedJob,
        held: Held,
        environment: ExecutionEnvironment,
    ) -> None:
        self._definition = definition
        self._job = job
        self.held = held
        self._environment = environment
        # Errors are kept in the row and logged: they must show none of these.
        self._secrets: list[str] = []
        self.error: BaseException | None = None
        """What the handler raised, unless it is how a stopped handler ends."""

    async def run(self) -> Outcome | None:
        """Run the handler → the outcome to write.

        None means that the lease is lost, so that nothing is to be written. Raises CancelledError
        only where the caller's task is cancelled, and what the platform ends the process by.
        """
        definition, job, held = self._definition, self._job, self.held
        database, threads = self._environment.database, self._environment.threads
        task, cancellations = asyncio.current_task(), cancellations_of_this_task()
        try:
            params = definition.params.load(job.params)
            self._secrets = definition.params.secrets_of(params)
            context = JobContext(
                job_name=job.job_name,
                job_id=job.id,
                attempt=job.attempt_count,
                correlation_id=job.correlation_id,
                database=database,
            )
            stop_request = held.stop_request
            attach(context, stop_request, held)
            with TimeLimit(stop_request, job.timeout_seconds):
                value = await call_handler(definition, params, context, stop_request, threads)
            result = definition.result.dump(
                definition.result.validate(value),
                max_bytes=database.capabilities.max_payload_bytes,
            )
            return Completed(result, held.last_message)
        except BaseException as error:
            if self._environment.passes(error):
                raise
            if not is_current(task):
                raise  # not the handler's: the loop is gone, and Python closes this coroutine
            if cancellations_of_this_task() > cancellations:
                # Its end is what our caller asked for, whatever the handler made of it.
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise asyncio.CancelledError(*error.args) from error
            return self._ended_by(error)

    def _ended_by(self, error: BaseException) -> Outcome | None:
        reason = self.held.stop_request.reason
        if reason is not None and _only_stopped(error):
            return self.stopped()
        self.error = error
        signal = signal_of(error)
        if reason is None or _still_chooses(signal, reason):
            return self._raised(error, signal)
        return self.stopped(error)

    def stopped(self, error: BaseException | None = None) -> Outcome | None:
        """Return the outcome of a handler that stopped because it was asked to.

        ``error`` is what it raised then; it is kept as a note. None means that the lease is lost,
        so that nothing is to be written.
        """
        note = None if error is None else self._describe(error)
        ended = (
            ""
            if note is None
            else f"; asked to stop, its handler raised {note.type}: {note.message}"
        )
        stop_request = self.held.stop_request
        match stop_request.reason:
            case StopReason.SHUTDOWN:
                most = self._environment.max_releases
                return Released(
                    f"given back more than {most} times in a row because its worker shut down;"
                    f" the job may be too long for this backend{ended}",
                    most,
                    note,
                )
            case StopReason.TIMED_OUT:
                message = (
                    f"the handler took longer than its timeout of {self._job.timeout_seconds:g} s"
                )
                text = "" if note is None else note.traceback
                wait = 0.0 if error is None else shortest_wait(error)
                timed_out = self._attempt_error(TIMED_OUT, message + ended, text)
                return self._failed(timed_out, at_least=wait)
            case StopReason.BROKE_OUT if stop_request.error is not None:
                return self._failed(self._describe(stop_request.error))
            case StopReason.CANCELLED:
                return Abandoned(_shortened(StopReason.CANCELLED.value + ended), note)
            case _:  # the lease is lost: the store would refuse any outcome
                return None

    def _raised(self, error: BaseException, signal: JobSignal | None) -> Outcome:
        match signal:
            case RetryLater() if not self._environment.once:
                return Postponed(self._said(signal), signal.delay_seconds)
            case CancelJob():
                return Abandoned(self._said(signal))
        # A result that doesn't fit its schema won't fit at the next attempt, and the work has been
        # done.
        permanent = signal is not None or isinstance(error, InvalidResultError)
        said = self._describe(error, said=signal)
        return self._failed(said, permanent=permanent, at_least=shortest_wait(error))

    def _failed(
        self, error: AttemptError, *, permanent: bool = False, at_least: float = 0.0
    ) -> Failed:
        policy = self._definition.retry_policy
        if self._job.retry_policy is not None:
            policy = RetryPolicy.from_json(self._job.retry_policy)
        try:
            delay = policy.delay_seconds(self._job.attempt_count)
        except Exception as problem:  # noqa: BLE001 - a user's function; the job must not hang on it
            delay = RetryPolicy().delay_seconds(self._job.attempt_count)
            note = f" (and its retry policy raised {type(problem).__name__}: {message_of(problem)})"
            error = self._attempt_error(error.type, error.message + note, error.traceback)
        return Failed(error, permanent=permanent, delay_seconds=max(delay, at_least))

    def _describe(self, error: BaseException, *, said: BaseException | None = None) -> AttemptError:
        """Describe an error, a group by what ``said`` says in it."""
        text = mask_in_text(traceback_of(error), self._secrets)
        said = said or error
        return self._attempt_error(type(said).__name__, self._said(said), text)

    def _said(self, error: BaseException) -> str:
        return _shortened(mask_in_text(message_of(error), self._secrets))

    def _attempt_error(self, kind: str, message: str, text: str = "") -> AttemptError:
        return AttemptError.new(
            kind,
            message,
            attempt=self._job.attempt_count,
            worker=self._job.worker_id,
            traceback=text,
        )


def _shortened(message: str) -> str:
    return clean(message)[:LONGEST_MESSAGE]


def _still_chooses(signal: JobSignal | None, reason: StopReason) -> bool:
    """Return whether a signal counts although the handler was asked to stop before it.

    What is cancelled has no further attempt to choose about. An attempt that took too long is used
    up: ``RetryLater``, which has no limit, could repeat it for ever.
    """
    match signal:
        case PermanentError() | CancelJob():
            return reason in {StopReason.SHUTDOWN, StopReason.TIMED_OUT}
        case RetryLater():
            return reason is StopReason.SHUTDOWN
        case _:
            return False


def _only_stopped(error: BaseException) -> bool:
    """Return whether nothing is in it but the cancellation by which a handler is interrupted."""
    return all(isinstance(each, asyncio.CancelledError) for each in leaves_of(error))


def broken_off(job: ClaimedJob, error: BaseException) -> Failed:
    """Return the outcome of an attempt whose execution ended by something else than its handler.

    It is a bug of ours, or other code in the process cancelled the execution's task.
    """
    if isinstance(error, asyncio.CancelledError):
        message, text = "its execution was cancelled, but nobody asked the handler to stop", ""
    else:
        message, text = message_of(error), traceback_of(error)
    try:
        policy = RetryPolicy.from_json(job.retry_policy) if job.retry_policy else RetryPolicy()
        delay = policy.delay_seconds(job.attempt_count)
    except Exception:  # noqa: BLE001 - the row's policy may be what is broken
        delay = RetryPolicy().delay_seconds(job.attempt_count)
    told = AttemptError.new(
        type(error).__name__,
        message,
        attempt=job.attempt_count,
        worker=job.worker_id,
        traceback=text,
    )
    return Failed(told, delay_seconds=delay)
