"""Job records as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from server_jobs.cli.listing import Listing
from server_jobs.cli.output import (
    STATUS_STYLES,
    as_json,
    masked_document,
    moment,
    percent,
    plain,
    print_lines,
    terminal_width,
)
from server_jobs.records import AttemptError, JobRecord
from server_jobs.schema import JobStatus

_ENDED_BY_ERROR = {JobStatus.FAILED, JobStatus.CANCELLED}


def print_records(records: Sequence[JobRecord]) -> None:
    """One line each, times in UTC."""
    print_lines(Listing(records).lines(terminal_width()))


def print_record(record: JobRecord) -> None:
    """All there is to know about one job, times in UTC."""
    print_lines(_lines(record))


def _lines(record: JobRecord) -> Iterator[Text]:
    yield Text.assemble(plain(record.job_name, "bold"), "  ", plain(record.id))
    for label, value in _facts(record):
        style = STATUS_STYLES[record.status] if label == "status" else ""
        yield Text.assemble((f"{label:<13} ", "dim"), plain(value, style))
    for label, text in (("params", record.params), ("result", record.result)):
        if text is not None:
            yield Text(label, style="bold")
            yield plain(_indented(as_json(masked_document(text))))
    for error in record.attempt_errors:
        yield from _error_lines(error)


def _facts(record: JobRecord) -> Iterator[tuple[str, str]]:
    yield "status", record.status
    yield "queue", f"{record.queue}, priority {record.priority}"
    yield "attempts", f"{record.attempt_count} of {record.max_attempts}"
    yield "progress", percent(record.progress) + _after(": ", record.progress_message)
    optional = (
        ("error" if record.status in _ENDED_BY_ERROR else "earlier error", record.error),
        ("correlation", record.correlation_id),
        ("unique key", record.unique_key),
        ("timeout", _seconds(record.timeout_seconds)),
        ("created", moment(record.created_at)),
        ("due", moment(record.scheduled_for)),
        ("started", moment(record.handler_started_at)),
        ("completed", moment(record.completed_at)),
        ("took", _seconds(record.duration_seconds)),
        ("worker", record.worker_id),
        ("lease until", moment(record.worker_expires_at)),
        ("cancel asked", moment(record.cancel_requested_at)),
    )
    yield from ((label, value) for label, value in optional if value)
    yield "fence", str(record.fence)
    for label, count in (
        ("given back", record.release_count),
        ("launches lost", record.launch_failures),
        ("disruptions", record.disruptions),
    ):
        if count:
            yield label, f"{count} times"


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
