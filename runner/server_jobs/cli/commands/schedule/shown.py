"""Schedules as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from server_jobs.cli.documents import json_value, masked_document
from server_jobs.cli.durations import as_typed
from server_jobs.cli.output import as_json, moment, plain
from server_jobs.cli.tables import Column, cell, fitting, labelled_lines, table_lines
from server_jobs.records.status import JobStatus
from server_jobs.schedules.schedule import NEVER, Decision, ScheduleRecord

_GIVE_WAY = ("ZONE", "SOURCE", "LAST", "JOB")
"""The columns that a narrow terminal leaves out, in this order."""


def listed(schedules: Sequence[ScheduleRecord], width: int | None) -> Iterator[Text]:
    """Return headings and a line for each schedule. Below a broken schedule, a line says why."""

    def column(heading: str, values: Iterable[object], least: int | None = None) -> Column:
        return Column(heading, [cell(value) for value in values], least)

    columns = [
        column("NAME", (schedule.name for schedule in schedules), least=10),
        column("JOB", (schedule.job_name for schedule in schedules), least=12),
        column("EXPRESSION", (schedule.cron_expression for schedule in schedules), least=10),
        column("ZONE", (schedule.time_zone for schedule in schedules)),
        Column("STATE", [_state(schedule) for schedule in schedules]),
        column("NEXT", (next_time(schedule)[:16] for schedule in schedules)),
        column("LAST", (schedule.last_decision or "" for schedule in schedules)),
        column("SOURCE", (schedule.managed_by for schedule in schedules), least=10),
    ]
    headings, *lines = table_lines(fitting(columns, width, _GIVE_WAY), width)
    yield headings
    for schedule, line in zip(schedules, lines, strict=True):
        yield line
        if is_broken(schedule):
            note = Text.assemble("  ", cell(schedule.last_note or "", "red"))
            if width is not None:
                note.truncate(width, overflow="ellipsis")
            yield note


def schedule_document(
    schedule: ScheduleRecord, live: dict[str, JobStatus] | None = None
) -> dict[str, Any]:
    """Return a schedule as JSON: times in ISO 8601, documents decoded, secrets masked."""
    document = asdict(schedule)
    del document["fire_token"]
    if not schedule.misfits:
        del document["misfits"]
    for column in ("params", "retry_policy", "runtime"):
        if document[column] is not None:
            document[column] = masked_document(document[column])
    document["ended"] = schedule.next_run_at == NEVER
    if schedule.next_run_at == NEVER:
        document["next_run_at"] = None
    if live is not None:
        document["live_jobs"] = [{"id": key, "status": str(status)} for key, status in live.items()]
    return {column: json_value(value) for column, value in document.items()}


def schedule_lines(
    schedule: ScheduleRecord, live: dict[str, JobStatus], width: int | None
) -> Iterator[Text]:
    """Return all that is known about one schedule, times in UTC."""
    yield Text.assemble(plain(schedule.name, "bold"), "  ", _state(schedule))
    facts = ((label, value) for label, value in _facts(schedule, live) if value)
    yield from labelled_lines(
        ((Text(f"{label:<13}", "dim"), plain(value)) for label, value in facts), width, gap=1
    )
    for label, text in (("params", schedule.params), ("runtime", schedule.runtime)):
        if text is not None:
            yield Text(label, style="bold")
            indented = "\n".join(f"  {it}" for it in as_json(masked_document(text)).splitlines())
            yield plain(indented)


def is_broken(schedule: ScheduleRecord) -> bool:
    """Return whether a schedule can't be read, and therefore doesn't fire."""
    return schedule.enabled and schedule.last_decision == Decision.BROKEN


def next_time(schedule: ScheduleRecord) -> str:
    """Return when a schedule fires next, in words."""
    if not schedule.enabled or is_broken(schedule):
        return ""
    if schedule.next_run_at is None:
        return "not computed yet"
    return "never" if schedule.next_run_at == NEVER else moment(schedule.next_run_at)


def both_clocks(fire_time: datetime, schedule_zone: Any) -> str:
    """Return a fire time by the schedule's clock and in UTC."""
    local = fire_time.astimezone(schedule_zone)
    return f"{local:%a %Y-%m-%d %H:%M %z}  {fire_time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _facts(
    schedule: ScheduleRecord, live: dict[str, JobStatus]
) -> Iterator[tuple[str, str | None]]:
    window = schedule.catchup_window_seconds
    yield "job", schedule.job_name
    yield "expression", f"{schedule.cron_expression}  {schedule.time_zone}"
    yield "next", next_time(schedule)
    yield "last", moment(schedule.last_run_at)
    yield "decision", schedule.last_decision
    yield "note", schedule.last_note
    yield "last job", schedule.last_job_id
    yield "live jobs", ", ".join(f"{job_id} ({status})" for job_id, status in live.items())
    yield "overlap", schedule.overlap
    bound = "without bound" if window is None else f"{as_typed(window)} back"
    yield "catch-up", f"{schedule.catchup}, {bound}, {schedule.catchup_limit} jobs at most"
    yield "jitter", as_typed(schedule.jitter_seconds) if schedule.jitter_seconds else None
    yield "starts at", moment(schedule.starts_at)
    yield "ends at", moment(schedule.ends_at)
    yield "queue", f"{schedule.queue}, priority {schedule.priority}"
    yield "attempts", str(schedule.max_attempts)
    yield "timeout", as_typed(schedule.timeout_seconds) if schedule.timeout_seconds else None
    yield "managed by", schedule.managed_by
    yield "created", moment(schedule.created_at)
    yield "updated", moment(schedule.updated_at)


def _state(schedule: ScheduleRecord) -> Text:
    if is_broken(schedule):
        return cell("broken", "bold red")
    return cell("on", "green") if schedule.enabled else cell("off", "yellow")
