"""The context of a handler: which job it executes, its progress, and whether it should stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from server_jobs.database import Database
from server_jobs.errors import DatabaseNotConfiguredError

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

    from server_jobs.definition.held import Held
    from server_jobs.definition.stop_request import StopRequest


class JobContext:
    """The context of one execution, for async and plain handlers alike.

    ``job_id`` is None where there is no record; ``attempt`` counts from 1.
    """

    __slots__ = (
        "__dict__",
        "_database",
        "_held",
        "_stop_request",
        "attempt",
        "correlation_id",
        "job_id",
        "job_name",
    )

    def __init__(
        self,
        *,
        job_name: str,
        job_id: str | None = None,
        attempt: int = 1,
        correlation_id: str | None = None,
        database: Database | None = None,
    ) -> None:
        self.job_name = job_name
        self.job_id = job_id
        self.attempt = attempt
        self.correlation_id = correlation_id
        self._database = database
        self._held: Held | None = None
        self._stop_request: StopRequest | None = None

    def update_progress(self, percent: float, message: str | None = None) -> Awaitable[None]:
        """Report how far the job is, in percent (clamped to 0–100), and what it is doing.

        The report is written within half a second, so that a tight loop costs the database nothing,
        and the last one is never lost. An async handler awaits this call, which lets other tasks
        run; a plain handler just calls it. Without a record nothing happens.
        """
        if self._held is not None:
            self._held.report(percent, message)
        return _YIELD

    def get_database(self) -> Database:
        """Return the database of the job's record. Raises DatabaseNotConfiguredError."""
        if self._database is None:
            raise DatabaseNotConfiguredError(
                f"{self.job_name} runs without a database (persist=False, and none is bound)"
            )
        return self._database

    @property
    def cancelled(self) -> bool:
        """Whether the job should stop: it is cancelled, timed out or has lost its lease, or its
        worker shuts down.

        Async handlers are interrupted where they await. Plain handlers have to look here.
        """
        return self._stop_request is not None and self._stop_request.reason is not None

    def raise_if_cancelled(self) -> None:
        """Raise CancelledError if the job should stop. A plain handler lets it pass through."""
        if self.cancelled:
            raise asyncio.CancelledError

    @cached_property
    def log(self) -> BoundLogger:
        """A structlog logger whose lines carry the job's name, id, attempt and correlation id.

        ``log.info("resized", images=2)`` adds a field, ``log.bind(…)`` returns a logger that has
        it on every line, and ``log.exception("…")`` adds the traceback of the current exception.
        A second positional argument is logged as the field ``data``.
        """
        from server_jobs.definition.logs import job_logger  # structlog takes long to import

        return job_logger(
            job_name=self.job_name,
            job_id=self.job_id,
            attempt=self.attempt,
            correlation_id=self.correlation_id,
        )


def create_job_context(
    *,
    job_name: str = "test",
    job_id: str | None = None,
    attempt: int = 1,
    correlation_id: str | None = None,
    database: Database | None = None,
) -> JobContext:
    """Make a context for calling a handler directly, for instance in its unit test."""
    return JobContext(
        job_name=job_name,
        job_id=job_id,
        attempt=attempt,
        correlation_id=correlation_id,
        database=database,
    )


def attach(context: JobContext, stop_request: StopRequest, held: Held | None = None) -> None:
    """Tie a context to the execution that it is for.

    The context then shows when the handler is asked to stop, and hands its progress to ``held``.
    Without that, progress goes nowhere.
    """
    context._stop_request = stop_request
    context._held = held


class _Yield:
    """Lets other tasks run once if it is awaited, and does nothing otherwise."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        yield


_YIELD = _Yield()
