"""What callers of a job get back: its result, and the facts about its execution."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar, cast

from server_jobs.records.status import JobStatus

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class JobMetadata:
    """Describes one execution. Moments are in UTC.

    ``job_id`` is None if the call wrote no record.
    """

    job_name: str
    status: JobStatus | None
    job_id: str | None = None
    attempt: int = 0
    correlation_id: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from start to end; None unless both are known."""
        if self.started_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.started_at).total_seconds() * 1000


class JobResult(Generic[R]):
    """Holds a job's result, or the error that says why there is none."""

    __slots__ = ("_data", "error", "metadata")

    def __init__(
        self, metadata: JobMetadata, data: R | None = None, error: Exception | None = None
    ) -> None:
        self.metadata = metadata
        self.error = error
        self._data = data

    @property
    def ok(self) -> bool:
        """Whether the job has a result."""
        return self.error is None

    @property
    def data(self) -> R:
        """The result. Raises ``error`` if there is none."""
        if self.error is not None:
            raise self.error
        return cast("R", self._data)

    def __repr__(self) -> str:
        shown = f"data={self._data!r}" if self.ok else f"error={self.error!r}"
        return f"JobResult({shown}, {self.metadata!r})"
