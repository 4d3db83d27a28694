"""Rows of the tables as typed, frozen data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from server_jobs.records.attempt_error import INVALID_ROW, AttemptError
from server_jobs.records.status import JobStatus


class Claim(NamedTuple):
    """A job and the fence under which it was claimed: what proves the right to write.

    A tuple, for it is hashed and compared several times a job.
    """

    job_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job as its holder gets it. ``params`` and ``retry_policy`` are raw JSON text.

    The fields are in the order of :data:`server_jobs.store.statements.shared.CLAIMED_COLUMNS`.
    """

    id: str
    job_name: str
    queue: str
    priority: int
    params: str
    fence: int
    attempt_count: int
    max_attempts: int
    retry_policy: str | None
    timeout_seconds: float | None
    correlation_id: str | None
    worker_id: str
    scheduled_for: datetime

    @property
    def claim(self) -> Claim:
        """The claim that each write of its holder names."""
        return Claim(self.id, self.fence)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A whole row of ``jobs``. JSON columns are raw text; moments have a time zone, UTC.

    A value that hasn't its column's type, which only another program can have written, is replaced
    by a stand-in (0, None, or the text of it), and ``misfits`` says by column what is wrong.
    """

    id: str
    job_name: str
    queue: str
    priority: int
    params: str
    result: str | None
    status: JobStatus
    ready: bool
    progress: float
    progress_message: str | None
    error: str | None
    errors: str
    attempt_count: int
    max_attempts: int
    retry_policy: str | None
    scheduled_for: datetime
    timeout_seconds: float | None
    fence: int
    worker_id: str | None
    worker_started_at: datetime | None
    worker_expires_at: datetime | None
    handler_started_at: datetime | None
    cancel_requested_at: datetime | None
    launch_failures: int
    release_count: int
    disruptions: int
    unique_key: str | None
    correlation_id: str | None
    cron_job_id: str | None
    cron_fire_at: datetime | None
    runtime: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    misfits: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def attempt_errors(self) -> list[AttemptError]:
        """The errors of the last failed attempts, oldest first; at most twenty."""
        return attempt_errors(self.errors)

    @property
    def duration_seconds(self) -> float | None:
        """How many seconds the last attempt ran, if it has ended."""
        if self.completed_at is None or self.handler_started_at is None:
            return None
        return (self.completed_at - self.handler_started_at).total_seconds()


RECORD_COLUMNS = tuple(name for name in JobRecord.__dataclass_fields__ if name != "misfits")
"""The columns of a whole row, in the order of a record's fields."""

_KEPT_ERRORS = 20


def attempt_errors(text: str) -> list[AttemptError]:
    """Read the last twenty entries of the column ``errors``, oldest first. Any text is taken."""
    try:
        documents = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"the column errors can't be read: {type(error).__name__}"
        return [AttemptError.new(INVALID_ROW, message)]
    if not isinstance(documents, list):
        documents = [documents]
    return [AttemptError.from_document(document) for document in documents[-_KEPT_ERRORS:]]


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job in one line, without its params, result and tracebacks."""

    id: str
    job_name: str
    queue: str
    status: JobStatus
    progress: float
    progress_message: str | None
    error: str | None
    attempt_count: int
    max_attempts: int
    scheduled_for: datetime
    worker_id: str | None
    unique_key: str | None
    cancel_requested_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewJob:
    """A row to insert. The job is due at ``scheduled_for``, or ``delay_seconds`` after now.

    The fields are in the order of :data:`server_jobs.store.statements.enqueue.NEW_COLUMNS`.
    """

    id: str
    job_name: str
    params: str
    queue: str = "default"
    priority: int = 0
    scheduled_for: datetime | None = None
    delay_seconds: float = 0.0
    max_attempts: int = 3
    retry_policy: str | None = None
    timeout_seconds: float | None = None
    unique_key: str | None = None
    correlation_id: str | None = None
    runtime: str | None = None
