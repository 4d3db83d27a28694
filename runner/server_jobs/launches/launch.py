"""Rows as a launcher sees them: claimed by one process, to be executed by another.

A launcher (the Kubernetes operator) claims jobs under a worker id of its own, below a prefix
that all of its installation's ids share. Whoever starts a job's handler takes the lease over
under an id below the launcher's, so that the prefix finds all that the installation has in hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from server_jobs.records.rows import Claim
from server_jobs.records.status import JobStatus


@dataclass(frozen=True, slots=True)
class Launch:
    """What a launcher needs to know of a row. JSON columns are raw text, moments in UTC.

    The fields, but for the last, are columns of ``jobs``.
    """

    id: str
    job_name: str
    queue: str
    status: JobStatus
    fence: int
    attempt_count: int
    max_attempts: int
    timeout_seconds: float | None
    retry_policy: str | None
    runtime: str | None
    correlation_id: str | None
    launch_failures: int
    disruptions: int
    worker_id: str | None
    worker_started_at: datetime | None
    worker_expires_at: datetime | None
    handler_started_at: datetime | None
    cancel_requested_at: datetime | None
    out_of_memory: int = 0
    """How many of its kept errors say that it ran out of memory."""

    @property
    def claim(self) -> Claim:
        """What its holder writes under."""
        return Claim(self.id, self.fence)

    @property
    def begun(self) -> bool:
        """Whether its handler has begun."""
        return self.handler_started_at is not None


SCHEMA_MISMATCH_STATUS = 78
"""How a runner ends that the tables are too new or too old for (EX_CONFIG): whatever it wrote into
them might be wrong, so its launcher does.
"""
