"""Logs how an execution ended."""

from __future__ import annotations

import logging

from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.outcomes import Abandoned, Completed, Failed, Outcome, Released
from server_jobs.records.rows import ClaimedJob

_log = logging.getLogger("server_jobs.worker")


def report(job: ClaimedJob, outcome: Outcome, duration_seconds: float) -> None:
    """Log how an execution ended, in one line with fields (``extra``) for programs.

    A failed attempt is a warning while attempts are left, and an error otherwise. Its message and
    its traceback are those of the job's record, in which secrets of the params are masked. What a
    handler raised when it was asked to stop is in the line about the end of its job.
    """
    level = _level(job, outcome)
    if not _log.isEnabledFor(level):
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
            _log.log(level, "%s completed in %.0f ms", which, duration_seconds * 1000, extra=fields)
        case Failed():
            fields |= failure_fields(job, outcome)
            text = "%s failed on attempt %d of %d, %s: %s"
            attempt = (job.attempt_count, job.max_attempts)
            message = outcome.error.message
            _log.log(level, text, which, *attempt, _next(job, outcome), message, extra=fields)
        case Released(note=AttemptError() as note) | Abandoned(note=AttemptError() as note):
            fields |= {"error": note.type, "traceback": note.traceback}
            text = "%s: %s; asked to stop, its handler raised %s: %s"
            said = (type(outcome).__name__.lower(), note.type, note.message)
            _log.log(level, text, which, *said, extra=fields)
        case _:
            _log.log(level, "%s: %s", which, type(outcome).__name__.lower(), extra=fields)


def failure_fields(job: ClaimedJob, failed: Failed) -> dict[str, object]:
    """Return what a log line says of a failed attempt, for programs."""
    left = _attempts_left(job, failed)
    fields: dict[str, object] = {"attempts_left": left, "error": failed.error.type}
    if left:
        fields["retry_in_seconds"] = round(failed.delay_seconds, 3)
    if failed.error.traceback:
        fields["traceback"] = failed.error.traceback
    return fields


def _level(job: ClaimedJob, outcome: Outcome) -> int:
    if not isinstance(outcome, Failed):
        return logging.INFO
    return logging.WARNING if _attempts_left(job, outcome) else logging.ERROR


def _attempts_left(job: ClaimedJob, failed: Failed) -> int:
    return 0 if failed.permanent else max(job.max_attempts - job.attempt_count, 0)


def _next(job: ClaimedJob, failed: Failed) -> str:
    left = _attempts_left(job, failed)
    if not left:
        return "for good"
    return f"again in {failed.delay_seconds:.1f} s, {left} attempt{'s' * (left > 1)} left"


def _show_traceback(record: logging.LogRecord) -> bool:
    """Let any formatter print the masked traceback below the message, as it does an exception's.

    The exception itself isn't given to logging: its text isn't masked.
    """
    record.exc_text = getattr(record, "traceback", None) or record.exc_text
    return True


_log.addFilter(_show_traceback)
