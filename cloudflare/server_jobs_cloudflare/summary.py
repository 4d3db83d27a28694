"""The summary of a tick, and the log lines of ticks and jobs: JSON, for ``wrangler tail --search``.

They show neither params nor results nor the text of errors, which may be private. Those are in the
record.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from server_jobs.records.outcomes import Failed, Outcome, Postponed, Released
from server_jobs.records.rows import ClaimedJob
from server_jobs.records.status import JobStatus

LOST = "lost"
"""The status of an execution whose lease was lost, so that its outcome isn't written."""

CAME_TOO_LATE = Postponed("given back: its tick ended soon after it had begun", 0.0)
"""The outcome of a job that is given back and doesn't count as too long for a tick."""


@dataclass
class TickSummary:
    """How many jobs a tick has staged, rescued and so on. ``ended`` says why it claimed no more."""

    worker: str
    ended: str = "spent"
    staged: int = 0
    rescued: int = 0
    fired: int = 0
    claimed: int = 0
    completed: int = 0
    retrying: int = 0
    failed: int = 0
    released: int = 0
    postponed: int = 0
    cancelled: int = 0
    lost: int = 0
    unsettled: int = 0
    """How many jobs it couldn't settle: their leases expire, and a later tick rescues them."""
    queries: int = 0
    duration_ms: float = 0.0

    def count(self, status: str) -> None:
        """Count one more execution with this status."""
        setattr(self, status, getattr(self, status) + 1)


def status_of(outcome: Outcome, status: JobStatus | None) -> str:
    """Return in a word how an execution ended: its outcome, and the status of its job by now.

    A status of None is a lease that was lost.
    """
    match status:
        case None:
            return LOST
        case JobStatus.PENDING:
            if outcome is CAME_TOO_LATE or isinstance(outcome, Released):
                return "released"
            return "postponed" if isinstance(outcome, Postponed) else "retrying"
        case _:
            return str(status)


def say(event: str, **fields: object) -> None:
    """Write one line to the console, which the platform's log is made of."""
    line = json.dumps({"event": event, **fields}, ensure_ascii=False, default=str)
    print(line, flush=True)  # noqa: T201 - a Worker's log is its console


def say_job(job: ClaimedJob, status: str, seconds: float, outcome: Outcome | None = None) -> None:
    """Write the line of one execution, which took so many seconds."""
    fields: dict[str, object] = {
        "job_name": job.job_name,
        "job_id": job.id,
        "queue": job.queue,
        "attempt": job.attempt_count,
        "status": status,
        "duration_ms": round(seconds * 1000, 1),
    }
    if isinstance(outcome, Failed):
        fields["error"] = outcome.error.type
    say("job", **fields)


def say_tick(summary: TickSummary) -> None:
    """Write the line of one tick."""
    say("tick", **asdict(summary))
