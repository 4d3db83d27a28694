"""How an attempt went wrong, as it stands in ``jobs.errors``.

The type of an error is the handler's exception class (``ValueError``), or one of our own words
where no handler raised it. Ours are in snake case, here and in the operator's reasons.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from server_jobs.records.text import clean

TIMED_OUT = "timed_out"
"""The attempt took longer than its timeout."""

LEASE_EXPIRED = "lease_expired"
"""The holder's lease expired; the holder is taken for dead."""

OUT_OF_MEMORY = "oom_killed"
"""The attempt was killed for its memory."""

UNKNOWN_JOB = "unknown_job"
"""The runner's app has no job of that name."""

APP_NOT_LOADED = "app_not_loaded"
"""The runner's app can't be imported."""

RUNS_ELSEWHERE = "runs_elsewhere"
"""The job declares another backend than the runner's."""

INVALID_ROW = "invalid_row"
"""A value of the row can't be worked with: another program wrote it."""

LONGEST_MESSAGE = 10_000
_LONGEST_TRACEBACK = 30_000


@dataclass(frozen=True, slots=True)
class AttemptError:
    """How one attempt went wrong."""

    attempt: int
    at: datetime | None
    type: str
    message: str
    traceback: str
    worker: str

    @classmethod
    def new(
        cls,
        type: str,
        message: str,
        *,
        attempt: int = 0,
        worker: str | None = None,
        traceback: str = "",
    ) -> AttemptError:
        """Make an error that is to be stored; the database adds the moment by its own clock.

        Texts are made fit for every database and shortened: of the message the beginning is kept
        (10,000 characters), of the traceback the end (30,000).
        """
        return cls(
            attempt=attempt,
            at=None,
            type=type,
            message=clean(message)[:LONGEST_MESSAGE],
            traceback=clean(traceback)[-_LONGEST_TRACEBACK:],
            worker=worker or "",
        )

    def as_json(self) -> str:
        """Return the document that is stored, without the moment, which the database adds."""
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
        """Read an entry of ``jobs.errors``. Any JSON is taken: other programs may write it, too."""
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
