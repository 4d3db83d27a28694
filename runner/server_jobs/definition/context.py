"""What a handler is given: who it is, and how to report and to listen."""

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


class JobContext:
    """The context of one execution. Async and plain handlers use the same one.

    ``job_id`` is None when nothing is persisted; ``attempt`` counts from 1.
    """

    __slots__ = (
        "__dict__",
        "_database",
        "_held",
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
        held: Held | None = None,
    ) -> None:
        self.job_name = job_name
        self.job_id = job_id
        self.attempt = attempt
        self.correlation_id = correlation_id
        self._database = database
        self._held = held

    def update_progress(self, percent: float, message: str | None = None) -> Awaitable[None]:
        """Report how far the job is, in percent (clamped to 0–100), and what it is doing.

        It is noted at once and written within half a second, so that a tight loop costs the
        database nothing; the last value is never lost. An async handler awaits it, which also
        lets others run; a plain one just calls it. Without persistence nothing happens.
        """
        if self._held is not None:
            self._held.report(percent, message)
        return _YIELD

    def get_database(self) -> Database:
        """The database that the job's record lives in. Raises DatabaseNotConfiguredError."""
        if self._database is None:
            raise DatabaseNotConfiguredError(
                f"{self.job_name} runs without a database (persist=False, and none is bound)"
            )
        return self._database

    @property
    def cancelled(self) -> bool:
        """Whether the job should stop: cancelled, timed out, its lease lost, or a shutdown.

        An async handler is interrupted by itself; a plain one polls this.
        """
        return self._held is not None and self._held.stop_reason is not None

    def raise_if_cancelled(self) -> None:
        """End a plain handler here if it should stop."""
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
    """A context to call a handler with directly, for instance in a unit test of it."""
    return JobContext(
        job_name=job_name,
        job_id=job_id,
        attempt=attempt,
        correlation_id=correlation_id,
        database=database,
    )


class _Yield:
    """Awaited, it lets other tasks run once; ignored, it does nothing."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        yield


_YIELD = _Yield()
