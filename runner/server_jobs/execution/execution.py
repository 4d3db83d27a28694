"""One claimed job → its outcome: decode params, call the handler, encode its result.

Every backend executes jobs here. An exception of the handler becomes an outcome and is never
raised, nor is ``SystemExit``: a job doesn't end the process that it shares with others. Any other
exception that isn't an ``Exception`` passes through, and the lease expires: a person's Ctrl-C, for
instance, or the end of a platform's CPU time.
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
from server_jobs.errors import CancelJob, InvalidResultError, PermanentError, RetryLater
from server_jobs.execution.handler_call import TimeLimit, call_handler, cancellations_of_this_task
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
        self.error: Exception | None = None
        """What the handler raised, if anything."""

    async def run(self) -> Outcome | None:
        """Run the handler → the outcome to write.

        None means that the lease is lost, so that nothing is to be written. Raises CancelledError
        only where the caller's task is cancelled.
        """
        definition, job, held = self._definition, self._job, self.held
        database, threads = self._environment.database, self._environment.threads
        cancellations = cancellations_of_this_task()
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
        except asyncio.CancelledError:
            if held.stop_request.reason is None or cancellations_of_this_task() > cancellations:
                raise
            return self.stopped()
        except Exception as error:  # noqa: BLE001 - a handler's becomes an outcome, whatever it is
            self.error = error
            return self._raised(error)

    def stopped(self) -> Outcome | None:
        """Return the outcome of a handler that stopped because it was asked to.

        None means that the lease is lost, so that nothing is to be written.
        """
        match self.held.stop_request.reason:
            case StopReason.SHUTDOWN:
                most = self._environment.max_releases
                return Released(
                    f"given back more than {most} times in a row because its worker shut down;"
                    " the job may be too long for this backend",
                    most,
                )
            case StopReason.TIMED_OUT:
                message = (
                    f"the handler took longer than its timeout of {self._job.timeout_seconds:g} s"
                )
                return self._failed(self._attempt_error(TIMED_OUT, message))
            case StopReason.CANCELLED:
                return Abandoned(StopReason.CANCELLED.value)
            case _:  # the lease is lost: the store would refuse any outcome
                return None

    def _raised(self, error: Exception) -> Outcome:
        match error:
            case RetryLater() if not self._environment.once:
                return Postponed(self._said(error), error.delay_seconds)
            case CancelJob():
                return Abandoned(self._said(error))
            case _:
                # A result that doesn't fit its schema won't fit at the next attempt, and the work
                # has been done.
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
        text = mask_in_text(traceback_of(error), self._secrets)
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


def _shortened(message: str) -> str:
    return clean(message)[:LONGEST_MESSAGE]
