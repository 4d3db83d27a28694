"""Job records as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from server_jobs.cli.output import (
    as_json,
    console,
    masked_document,
    moment,
    plain,
    print_lines,
)
from server_jobs.records import AttemptError, JobRecord
from server_jobs.schema import JobStatus

_STYLES = {
    JobStatus.PENDING: "",
    JobStatus.RUNNING: "cyan",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "yellow",
}
_LONGEST_NOTE = 80


def print_records(records: Sequence[JobRecord]) -> None:
    """One line each, times in UTC."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    # Ids are there to be copied; on a narrow terminal the rest gives way.
    table.add_column("ID", no_wrap=True, min_width=36)
    for heading in ("JOB", "STATUS", "QUEUE"):
        table.add_column(heading, no_wrap=True)
    table.add_column("ATTEMPTS", no_wrap=True, justify="right")
    table.add_column("DUE (UTC)", no_wrap=True)
    table.add_column("NOTE", no_wrap=True)
    for record in records:
        table.add_row(
            plain(record.id),
            plain(record.job_name),
            plain(record.status, _STYLES[record.status]),
            plain(record.queue),
            f"{record.attempt_count}/{record.max_attempts}",
            moment(record.scheduled_for),
            plain(_note(record)),
        )
    console().print(table)


def _note(record: JobRecord) -> str:
    """What to know at a glance: why it failed, or how far it is."""
    if record.error is not None and record.status is not JobStatus.COMPLETED:
        text = record.error
    elif record.status is JobStatus.RUNNING:
        text = f"{record.progress:.0f} % {record.progress_message or ''}"
    else:
        text = record.progress_message or ""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_NOTE else f"{line[: _LONGEST_NOTE - 1]}…"


def print_record(record: JobRecord) -> None:
    """All there is to know about one job, times in UTC."""
    print_lines(_lines(record))


def _lines(record: JobRecord) -> Iterator[Text]:
    yield Text.assemble(plain(record.job_name, "bold"), "  ", plain(record.id))
    for label, value in _facts(record):
        style = _STYLES[record.status] if label == "status" else ""
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
    yield "progress", f"{record.progress:g} %" + _after(": ", record.progress_message)
    optional = (
        ("error", record.error),
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
