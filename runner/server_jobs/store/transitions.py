"""The state machine: which columns change, and to what, for each transition.

::

    pending ──claim──▶ running ──complete──▶ completed
       ▲                 │ ├──fail (attempts left: back-off)──▶ pending
       │                 │ ├──fail (none left / permanent)────▶ failed
       │                 │ ├──release, postpone───────────────▶ pending
       │                 │ ├──lose_launch, disrupt────────────▶ pending or failed
       │                 │ └──rescue (lease expired)──────────▶ pending or failed
       ├── set_aside ─▶ failed (a row that can't be worked with; a running one, too)
       ├── retry ── failed, cancelled
       └── cancel ─▶ cancelled (pending: at once; running: by its holder)

Each function is pure: it takes the row's columns, the moment and its inputs, all as SQL
expressions, and returns what to set. Who may make the transition (the fence, the lease) is the
``WHERE`` of the statement that uses it; nothing but these functions writes ``status``.

Where a cancellation was requested while a job ran, and the job leaves ``running`` without a result,
it becomes ``cancelled`` instead of pending or failed.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from sqlalchemy import Integer, and_, case, cast, false, literal_column, not_, null, or_, true
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.records.outcomes import MAX_LAUNCH_FAILURES
from server_jobs.records.status import JobStatus
from server_jobs.sql.column_types import JsonText
from server_jobs.sql.constructs import add_seconds, json_append

Job: TypeAlias = ReadOnlyColumnCollection[str, Any]
"""The columns of the row in transition."""

Sql: TypeAlias = ColumnElement[Any]
Changes: TypeAlias = dict[str, Any]


_ONE: Sql = literal_column("1", Integer)
_ZERO: Sql = literal_column("0", Integer)
_LARGEST: Sql = literal_column("2147483647", Integer)


def _status(status: JobStatus) -> Sql:
    return literal_column(f"'{status}'")


# ── into running ─────────────────────────────────────────────────────────────────────────────


def claim(job: Job, now: Sql, *, worker_id: Sql, lease_seconds: Sql, starting: bool) -> Changes:
    """Pending → running, under a new fence.

    ``starting`` is true where claiming and running are one process: the handler counts as begun.
    """
    return {
        "status": _status(JobStatus.RUNNING),
        "ready": false(),
        "fence": job.fence + _ONE,
        "attempt_count": _one_more(job.attempt_count),
        "worker_id": worker_id,
        "worker_started_at": now,
        "worker_expires_at": add_seconds(now, lease_seconds),
        "handler_started_at": now if starting else null(),
        "progress": _ZERO,
        "progress_message": null(),
        "updated_at": now,
    }


def born_running(now: Sql, *, worker_id: Sql, lease_seconds: Sql) -> Changes:
    """New row → running: its maker executes it at once, as its only attempt."""
    return {
        "status": _status(JobStatus.RUNNING),
        "ready": false(),
        "fence": _ONE,
        "attempt_count": _ONE,
        "max_attempts": _ONE,
        "worker_id": worker_id,
        "worker_started_at": now,
        "worker_expires_at": add_seconds(now, lease_seconds),
        "handler_started_at": now,
        "created_at": now,
        "updated_at": now,
    }


def start(job: Job, now: Sql, *, worker_id: Sql, lease_seconds: Sql) -> Changes:
    """Claimed → begun: the handler begins in the process that takes the lease over."""
    return {
        "handler_started_at": _or_else(job.handler_started_at, now),
        "worker_id": worker_id,
        "worker_expires_at": add_seconds(now, lease_seconds),
        "updated_at": now,
    }


# ── out of running ───────────────────────────────────────────────────────────────────────────


def complete(job: Job, now: Sql, *, result: Sql, message: Sql) -> Changes:
    """Running → completed, even if a cancellation has been requested."""
    return {
        "status": _status(JobStatus.COMPLETED),
        "result": result,
        "error": null(),
        "progress": literal_column("100"),
        "progress_message": _or_else(message, job.progress_message),
        "completed_at": now,
        "worker_expires_at": null(),
        "updated_at": now,
    }


def fail(
    job: Job,
    now: Sql,
    *,
    error: Sql,
    record: Sql,
    permanent: Sql,
    delay: Sql,
) -> Changes:
    """Running → pending after ``delay``; → failed if no attempt is left or it is permanent."""
    exhausted = or_(permanent, job.attempt_count >= job.max_attempts)
    return _leave(job, now, failed=exhausted, delay=delay) | {
        "error": error,
        "errors": json_append(job.errors, record, now),
        "release_count": _ZERO,
    }


def release(job: Job, now: Sql, *, reason: Sql, max_releases: Sql) -> Changes:
    """Running → pending on purpose, with the attempt given back.

    → failed once it was released ``max_releases`` times in a row already.
    """
    exhausted = job.release_count >= max_releases
    return _leave(job, now, failed=exhausted) | {
        "attempt_count": job.attempt_count - _ONE,
        "release_count": _one_more(job.release_count),
        "error": case((exhausted, reason), else_=job.error),
    }


def postpone(job: Job, now: Sql, *, delay: Sql, reason: Sql) -> Changes:
    """Running → pending after ``delay``, at the handler's request: no budget is charged."""
    return _leave(job, now, failed=None, delay=delay) | {
        "attempt_count": job.attempt_count - _ONE,
        "progress_message": reason,
    }


def abandon(job: Job, now: Sql, *, reason: Sql) -> Changes:
    """Running → cancelled, by the holder: its handler has ended without a result."""
    return _end(now, JobStatus.CANCELLED) | {"error": reason}


def withdraw(job: Job, now: Sql, *, delay: Sql, reason: Sql) -> Changes:
    """Running → pending after ``delay``: a launcher takes back what hasn't begun, uncharged."""
    return postpone(job, now, delay=delay, reason=reason)


def lose_launch(
    job: Job, now: Sql, *, reason: Sql, record: Sql, delay: Sql, max_failures: Sql
) -> Changes:
    """Running → pending after ``delay``: lost before the handler began.

    A launch is charged, no attempt. → failed with the failure number ``max_failures``.
    """
    exhausted = _one_more(job.launch_failures) >= max_failures
    return _leave(job, now, failed=exhausted, delay=delay) | {
        "attempt_count": job.attempt_count - _ONE,
        "launch_failures": _one_more(job.launch_failures),
        "error": reason,
        "errors": json_append(job.errors, record, now),
    }


def disrupt(
    job: Job, now: Sql, *, reason: Sql, record: Sql, delay: Sql, max_disruptions: Sql
) -> Changes:
    """Running → pending after ``delay``: the platform took a started job down.

    A disruption is charged, no attempt. → failed with the disruption number ``max_disruptions``.
    """
    exhausted = _one_more(job.disruptions) >= max_disruptions
    return _leave(job, now, failed=exhausted, delay=delay) | {
        "attempt_count": job.attempt_count - _ONE,
        "disruptions": _one_more(job.disruptions),
        "error": reason,
        "errors": json_append(job.errors, record, now),
    }


def rescue(job: Job, now: Sql, *, reason: Sql, record: Sql, delay: Sql) -> Changes:
    """Running → pending or failed: the lease expired, so its holder is taken for dead.

    If the handler hadn't begun, a launch is charged and the attempt is given back; otherwise the
    attempt is used up.
    """
    unstarted = job.handler_started_at.is_(None)
    exhausted = case(
        (unstarted, _one_more(job.launch_failures) >= literal_column(str(MAX_LAUNCH_FAILURES))),
        else_=job.attempt_count >= job.max_attempts,
    )
    given_back = case((unstarted, _ONE), else_=_ZERO)
    return _leave(job, now, failed=exhausted, delay=delay) | {
        "attempt_count": job.attempt_count - given_back,
        "launch_failures": case(
            (unstarted, _one_more(job.launch_failures)), else_=job.launch_failures
        ),
        "release_count": _ZERO,
        "error": reason,
        "errors": json_append(job.errors, record, now),
    }


def set_aside(job: Job, now: Sql, *, error: Sql, record: Sql, keep_errors: bool) -> Changes:
    """Pending or running → failed: something in the row can't be worked with.

    Without ``keep_errors``, the earlier errors are dropped, for they may be what is wrong.
    """
    errors = job.errors if keep_errors else cast(literal_column("'[]'"), JsonText)
    return _end(now, JobStatus.FAILED) | {
        "ready": false(),
        "error": error,
        "errors": json_append(errors, record, now),
    }


# ── by a person ──────────────────────────────────────────────────────────────────────────────


def cancel(job: Job, now: Sql) -> Changes:
    """Pending → cancelled. On a running job it leaves a request for the holder."""
    pending = job.status == _status(JobStatus.PENDING)
    return {
        "status": case((pending, _status(JobStatus.CANCELLED)), else_=job.status),
        "ready": false(),
        "completed_at": case((pending, now), else_=null()),
        "cancel_requested_at": _or_else(job.cancel_requested_at, now),
        "updated_at": now,
    }


def retry(job: Job, now: Sql) -> Changes:
    """Failed or cancelled → pending, with all attempts again. ``errors`` is kept."""
    return {
        "status": _status(JobStatus.PENDING),
        "ready": true(),
        "scheduled_for": now,
        "attempt_count": _ZERO,
        "launch_failures": _ZERO,
        "release_count": _ZERO,
        "disruptions": _ZERO,
        "completed_at": null(),
        "cancel_requested_at": null(),
        "handler_started_at": null(),
        "worker_id": null(),
        "worker_started_at": null(),
        "progress": _ZERO,
        "progress_message": null(),
        "updated_at": now,
    }


def stage(now: Sql) -> Changes:
    """Pending and due → visible to claims."""
    return {"ready": true(), "updated_at": now}


# ── shared ───────────────────────────────────────────────────────────────────────────────────


def _leave(job: Job, now: Sql, *, failed: Sql | None, delay: Sql = _ZERO) -> Changes:
    """Leave ``running`` without a result: cancelled if requested, else failed or pending."""
    cancelled = job.cancel_requested_at.is_not(None)
    failed = false() if failed is None else failed
    again = and_(not_(cancelled), not_(failed))

    def if_again(then: Any, otherwise: Any) -> Sql:
        return case((again, then), else_=otherwise)

    return {
        "status": case(
            (cancelled, _status(JobStatus.CANCELLED)),
            (failed, _status(JobStatus.FAILED)),
            else_=_status(JobStatus.PENDING),
        ),
        "ready": and_(again, delay <= _ZERO),
        "scheduled_for": if_again(add_seconds(now, delay), job.scheduled_for),
        "completed_at": if_again(null(), now),
        "worker_expires_at": null(),
        # A finished job keeps its worker and times; one that becomes pending again starts clean.
        "worker_id": if_again(null(), job.worker_id),
        "worker_started_at": if_again(null(), job.worker_started_at),
        "handler_started_at": if_again(null(), job.handler_started_at),
        "updated_at": now,
    }


def _one_more(count: Sql) -> Sql:
    """Count one more, unless the column has its largest number: an overflow would be an error."""
    return case((count < _LARGEST, count + _ONE), else_=count)


def _end(now: Sql, status: JobStatus) -> Changes:
    return {
        "status": _status(status),
        "completed_at": now,
        "worker_expires_at": null(),
        "updated_at": now,
    }


def _or_else(first: Sql, second: Sql) -> Sql:
    return case((first.is_not(None), first), else_=second)
