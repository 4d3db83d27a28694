"""Job records as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from server_jobs.cli.documents import masked_document
from server_jobs.cli.durations import in_words
from server_jobs.cli.job_list import job_lines
from server_jobs.cli.output import (
    STATUS_STYLES,
    as_json,
    moment,
    percent,
    plain,
    print_lines,
    terminal_width,
)
from server_jobs.cli.tables import labelled_lines
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.backoff import RetryPolicy
from server_jobs.records.rows import JobRecord
from server_jobs.records.status import JobStatus

_ENDED_BY_ERROR = {JobStatus.FAILED, JobStatus.CANCELLED}


def print_records(records: Sequence[JobRecord]) -> None:
    """Print a line for each record, with times in UTC."""
    print_lines(job_lines(records, terminal_width()))


def print_record(record: JobRecord, now: datetime) -> None:
    """Print all that is known about one job, with times in UTC. ``now`` is the database's time."""
    print_lines(_lines(record, now, terminal_width()))


def lease_document(record: JobRecord, now: datetime) -> dict[str, Any]:
    """Return what a record's columns don't say: the state of its lease, and where the job runs."""
    if record.worker_expires_at is None:
        return {"lease": None}
    return {
        "lease": {
            "seconds_left": (record.worker_expires_at - now).total_seconds(),
            "expired": record.worker_expires_at <= now,
            "worker": worker_document(record.worker_id or ""),
        }
    }


def worker_document(worker_id: str) -> dict[str, Any]:
    """Return the parts of a worker's id, if it has the form ``backend/host/pid/…``."""
    match worker_id.split("/"):
        case [backend, host, pid, _] if pid.isdecimal():
            return {"id": worker_id, "backend": backend, "host": host, "pid": int(pid)}
    return {"id": worker_id}


def _lines(record: JobRecord, now: datetime, width: int | None) -> Iterator[Text]:
    yield Text.assemble(plain(record.job_name, "bold"), "  ", plain(record.id))
    styles = {"status": STATUS_STYLES[record.status]}
    facts = (
        (Text(f"{label:<13}", "dim"), plain(value, styles.get(label, "")))
        for label, value in _facts(record, now)
    )
    yield from labelled_lines(facts, width, gap=1)
    for label, text in (
        ("params", record.params),
        ("result", record.result),
        ("runtime", record.runtime),
    ):
        if text is not None:
            yield Text(label, style="bold")
            yield plain(_indented(as_json(masked_document(text))))
    for error in record.attempt_errors:
        yield from _error_lines(error)


def _facts(record: JobRecord, now: datetime) -> Iterator[tuple[str, str]]:
    yield "status", record.status
    yield "queue", f"{record.queue}, priority {record.priority}"
    yield "attempts", f"{record.attempt_count} of {record.max_attempts}"
    yield "progress", percent(record.progress) + _after(": ", record.progress_message)
    optional = (
        ("error" if record.status in _ENDED_BY_ERROR else "earlier error", record.error),
        ("correlation", record.correlation_id),
        ("schedule", record.cron_job_id),
        ("fire time", moment(record.cron_fire_at)),
        ("unique key", record.unique_key),
        ("timeout", _seconds(record.timeout_seconds)),
        ("retried after", _retry_policy(record)),
        ("created", moment(record.created_at)),
        ("due", moment(record.scheduled_for)),
        ("started", moment(record.handler_started_at)),
        ("completed", moment(record.completed_at)),
        ("took", _seconds(record.duration_seconds)),
        ("worker", record.worker_id),
        ("where", _where(record)),
        ("lease until", _lease(record, now)),
        ("cancel asked", moment(record.cancel_requested_at)),
    )
    yield from ((label, value) for label, value in optional if value)
    yield from (("broken", f"{column} {what}") for column, what in record.misfits.items())
    yield "fence", str(record.fence)
    for label, count in (
        ("given back", record.release_count),
        ("launches lost", record.launch_failures),
        ("disruptions", record.disruptions),
    ):
        if count:
            yield label, f"{count} times"


def _retry_policy(record: JobRecord) -> str:
    if record.retry_policy is None:
        return ""
    policy = RetryPolicy.from_json(record.retry_policy)
    first = ("up to " if policy.jitter else "") + in_words(policy.base_seconds)
    if policy.factor == 1:
        return first
    longest = in_words(policy.max_seconds)
    return f"{first}, then {policy.factor:g} times as long each time, {longest} at most"


def _where(record: JobRecord) -> str:
    worker = worker_document(record.worker_id or "")
    return f"process {worker['pid']} on {worker['host']}" if "pid" in worker else ""


def _lease(record: JobRecord, now: datetime) -> str:
    until = record.worker_expires_at
    if until is None:
        return ""
    left = (until - now).total_seconds()
    if left > 0:
        return f"{moment(until)}, {in_words(left)} from now"
    return f"{moment(until)}, expired {in_words(-left)} ago: the next worker to look takes it back"


def _error_lines(error: AttemptError) -> Iterator[Text]:
    where = "".join((_after(" at ", moment(error.at)), _after(" on ", error.worker)))
    yield plain(f"attempt {error.attempt} failed{where}", "bold")
    yield plain(_indented(error.traceback.rstrip() or f"{error.type}: {error.message}"))


def _after(separator: str, text: str | None) -> str:
    return f"{separator}{text}" if text else ""


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:g} s"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
