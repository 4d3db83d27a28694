"""The statuses that a job can have."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands. ``completed``, ``failed`` and ``cancelled`` are ends."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether nothing happens to the job any more, unless somebody retries it."""
        return self in FINISHED


FINISHED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


LIVE = frozenset({JobStatus.PENDING, JobStatus.RUNNING})


RETRYABLE = frozenset({JobStatus.FAILED, JobStatus.CANCELLED})
