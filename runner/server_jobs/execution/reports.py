"""Logs how an execution ended."""

from __future__ import annotations

import logging

from server_jobs.records.outcomes import Completed, Failed, Outcome
from server_jobs.records.rows import ClaimedJob

_log = logging.getLogger("server_jobs.worker")


def report(job: ClaimedJob, outcome: Outcome, duration_seconds: float) -> None:
    """Log one line for an execution. Its fields (``extra``) are for programs that read logs."""
    if isinstance(outcome, Completed) and not _log.isEnabledFor(logging.INFO):
        return
    fields: dict[str, object] = {
        "job_id": job.id,
        "job_name": job.job_name,
        "attempt": job.attempt_count,
        "duration_ms": round(duration_seconds * 1000, 3),
    }
    which = f"job {job.id} ({job.job_name})"
    match outcome:
        case Completed():
            _log.info("%s completed in %.0f ms", which, duration_seconds * 1000, extra=fields)
        case Failed(reason, permanent, delay):
            attempt = f"attempt {job.attempt_count} of {job.max_attempts}"
            if permanent or job.attempt_count >= job.max_attempts:
                text = "%s failed on %s, for good: %s"
                fields["traceback"] = reason.traceback  # cleaned: not all text can be written
                _log.error(text, which, attempt, reason.message, extra=fields)
            else:
                text = "%s failed on %s, again in %.1f s: %s"
                _log.warning(text, which, attempt, delay, reason.message, extra=fields)
        case _:
            _log.info("%s: %s", which, type(outcome).__name__.lower(), extra=fields)
