"""Rows as typed, frozen data: what the store gives back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from server_jobs.records.status import JobStatus


@dataclass(frozen=True, slots=True)
class AttemptError:
    """How one attempt went wrong."""

    attempt: int
    at: datetime | None
    type: str
    message: str
    traceback: str
    worker: str

    def as_json(self) -> str:
        """The document that is stored; the database adds the moment by its own clock."""
        document = {
            "attempt": self.attempt,
            "type": self.type,
            "message": self.message,
            "traceback": self.traceback,
            "worker": self.worker,
        }
        return json.dumps(document, ensure_ascii=False)

    @classmethod
    def from_document(cls, document: Any) -> AttemptError:
        """An entry of ``jobs.errors``, whoever wrote it."""
        if not isinstance(document, dict):
            document = {"message": str(document)}
        at = document.get("at")
        try:
            moment = datetime.fromisoformat(at) if isinstance(at, str) else None
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        attempt = document.get("attempt")
        return cls(
            attempt=attempt if isinstance(attempt, int) else 0,
            at=moment,
            type=str(document.get("type", "")),
            message=str(document.get("message", "")),
            traceback=str(document.get("traceback", "")),
            worker=str(document.get("worker", "")),
        )


class Claim(NamedTuple):
    """A job and the fence under which it was claimed: what proves the right to write.

    A tuple, for it is hashed and compared several times a job.
    """

    job_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """What a claim gives its holder. ``params`` and ``retry_policy`` are raw JSON text.

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
        """What its holder writes under."""
        return Claim(self.id, self.fence)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A row of ``jobs``, whole. JSON columns are raw text; moments are aware and in UTC."""

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

    @property
    def attempt_errors(self) -> list[AttemptError]:
        """How the last attempts went wrong, oldest first; at most twenty are kept."""
        documents = json.loads(self.errors)
        if not isinstance(documents, list):
            documents = [documents]
        return [AttemptError.from_document(document) for document in documents]

    @property
    def duration_seconds(self) -> float | None:
        """How long the last attempt ran, where it has ended."""
        if self.completed_at is None or self.handler_started_at is None:
            return None
        return (self.completed_at - self.handler_started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class JobSummary:
    """How a job stands, in a line: neither its params and result, nor tracebacks."""

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
    """A row to be. It is due at ``scheduled_for``, or ``delay_seconds`` after now.

    The fields are in the order of :data:`server_jobs.store.statements.shared.NEW_COLUMNS`.
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
