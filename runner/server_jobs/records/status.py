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


FINISHED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


LIVE = frozenset({JobStatus.PENDING, JobStatus.RUNNING})


RETRYABLE = frozenset({JobStatus.FAILED, JobStatus.CANCELLED})
