"""What is asked of the store, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from server_jobs.records.status import JobStatus


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant: those that fit everything that is said. Said nothing, all of them.

    Ages are in seconds since ``created_at``, by the database's clock.
    """

    job_names: tuple[str, ...] = ()
    statuses: tuple[JobStatus, ...] = ()
    queues: tuple[str, ...] = ()
    correlation_id: str | None = None
    older_than: float | None = None
    newer_than: float | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many jobs fit a filter, by status, and the newest id among them."""

    counts: Mapping[JobStatus, int]
    newest_id: str | None

    @property
    def total(self) -> int:
        """Of all statuses."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Skipped:
    """A job that a retry or a cancellation left as it was; no status means no such job."""

    job_id: str
    status: JobStatus | None
    reason: str


@dataclass(frozen=True, slots=True)
class Changed:
    """What a retry or a cancellation of many did: the statuses now, and what it left alone."""

    statuses: Mapping[str, JobStatus] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()


@dataclass(frozen=True, slots=True)
class Prunable:
    """Which finished jobs may be deleted: those that ended before the moment of their status.

    A status without a moment keeps its jobs. Names, where there are any, narrow it down.
    """

    before: Mapping[JobStatus, datetime]
    job_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the primary key that was looked at: its end, its rows, the prunable ones."""

    last_id: str
    rows: int
    prunable: Mapping[JobStatus, int]


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settled job has become."""

    status: JobStatus
    scheduled_for: datetime


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """A request for work: how much of which queue, for whom. No names are all names."""

    queue: str
    job_names: Sequence[str] | None
    limit: int
    worker_id: str
    lease_seconds: float
    starting: bool = True


@dataclass(frozen=True, slots=True)
class JobCount:
    """How many jobs of a name and queue have a status, and how long their attempts took."""

    job_name: str
    queue: str
    status: JobStatus
    count: int
    mean_seconds: float | None


ANY_JOB = JobFilter()


DEFAULT_LEASE = 300.0
"""Seconds for which a claim holds without a heartbeat."""
