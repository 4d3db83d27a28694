"""The statuses that a job can have."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """The status of a job. ``completed``, ``failed`` and ``cancelled`` are final unless retried."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether the job has ended: nothing changes it but a retry."""
        return self in FINISHED


def status_of(text: str) -> JobStatus | None:
    """Return the status of a row → None for a word that this release doesn't know."""
    try:
        return JobStatus(text)
    except ValueError:
        return None


FINISHED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


LIVE = frozenset({JobStatus.PENDING, JobStatus.RUNNING})


RETRYABLE = frozenset({JobStatus.FAILED, JobStatus.CANCELLED})
