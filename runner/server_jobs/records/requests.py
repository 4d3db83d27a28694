"""Requests to the store, and its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from server_jobs.records.status import JobStatus

DEFAULT_LEASE = 300.0
"""The seconds for which a claim holds without a heartbeat."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Selects the jobs that fit every field which is set; without fields, all jobs.

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
        """How many jobs there are, of any status."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Skipped:
    """A job that a retry or a cancellation skipped. Without a status there is no such job."""

    job_id: str
    status: JobStatus | None
    reason: str


@dataclass(frozen=True, slots=True)
class Changed:
    """The effect of a retry or a cancellation of many: their statuses now, and the skipped jobs."""

    statuses: Mapping[str, JobStatus] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()


@dataclass(frozen=True, slots=True)
class Prunable:
    """Which finished jobs may be deleted: those that ended before the moment of their status.

    Jobs of a status without a moment are kept. ``job_names``, if there are any, narrow it down.
    With ``whenever``, those count, too, that have ended at what is no moment before, such as
    ``infinity``: only other programs write that.
    """

    before: Mapping[JobStatus, datetime]
    job_names: tuple[str, ...] = ()
    whenever: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the primary key: its last id, its rows, and the prunable ones by status.

    An empty table has no last id.
    """

    last_id: str | None
    rows: int
    prunable: Mapping[JobStatus, int]


@dataclass(frozen=True, slots=True)
class Settled:
    """The status of a job after it was settled, and when it is due if it is pending again."""

    status: JobStatus
    scheduled_for: datetime


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """A request to claim at most ``limit`` jobs of one queue; ``job_names=None`` takes any name."""

    queue: str
    job_names: Sequence[str] | None
    limit: int
    worker_id: str
    lease_seconds: float
    starting: bool = True


@dataclass(frozen=True, slots=True)
class JobCount:
    """The number of jobs of one name, queue and status, and the mean seconds of their attempts."""

    job_name: str
    queue: str
    status: JobStatus
    count: int
    mean_seconds: float | None


ANY_JOB = JobFilter()
