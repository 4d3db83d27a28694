"""Rows as a launcher sees them: claimed by one process, to be executed by another.

A launcher (the Kubernetes operator) claims jobs under worker ids that begin with a prefix, which
belongs to its installation. The process that begins a handler takes the lease over, under a
longer worker id with the same beginning. So the prefix finds every running job of the installation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from server_jobs.records.rows import Claim
from server_jobs.records.status import JobStatus


@dataclass(frozen=True, slots=True)
class Launch:
    """What a launcher needs to know of a row. JSON columns are raw text, times are UTC.

    All fields but the last are columns of ``jobs``.
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
    """How many of the row's errors say that the pod ran out of memory."""

    @property
    def claim(self) -> Claim:
        """The claim under which its holder writes."""
        return Claim(self.id, self.fence)

    @property
    def begun(self) -> bool:
        """Whether the handler has begun."""
        return self.handler_started_at is not None


*LAUNCH_COLUMNS, _ = Launch.__dataclass_fields__
"""The columns of ``jobs`` that a launch has, in the order of its fields."""

SCHEMA_MISMATCH_STATUS = 78
"""The exit status of a runner for which the tables are too new or too old (EX_CONFIG). It writes
nothing, since that might be wrong; its launcher settles the job.
"""
