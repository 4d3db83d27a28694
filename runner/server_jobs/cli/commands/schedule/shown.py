"""Schedules as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from server_jobs.cli.documents import json_value, masked_document
from server_jobs.cli.durations import as_typed
from server_jobs.cli.job_list import line_of
from server_jobs.cli.output import as_json, moment, plain
from server_jobs.records.status import JobStatus
from server_jobs.schedules.schedule import NEVER, Decision, ScheduleRecord

_GAP = 2
_GIVE_WAY = ("ZONE", "SOURCE", "LAST", "JOB")
"""What is left out where the terminal is narrow, in this order."""


def listed(schedules: Sequence[ScheduleRecord], width: int | None) -> Iterator[Text]:
    """One line each, times in UTC; names stay whole, for they are there to be copied."""
    columns = {
        "NAME": [plain(schedule.name) for schedule in schedules],
        "JOB": [plain(schedule.job_name) for schedule in schedules],
        "EXPRESSION": [plain(schedule.cron_expression) for schedule in schedules],
        "ZONE": [plain(schedule.time_zone) for schedule in schedules],
        "STATE": [_state(schedule) for schedule in schedules],
        "NEXT": [plain(next_time(schedule)[:16]) for schedule in schedules],
        "LAST": [plain(schedule.last_decision or "") for schedule in schedules],
        "SOURCE": [plain(schedule.managed_by) for schedule in schedules],
    }
    widths = {
        name: max(cell_len(name), *(cell.cell_len for cell in cells))
        for name, cells in columns.items()
    }
    for name in _GIVE_WAY:
        if width is not None and _total(widths) > width:
            del widths[name]
    for name in ("EXPRESSION", "NAME"):
        if width is not None:
            widths[name] = max(10, widths[name] - max(0, _total(widths) - width))
    yield line_of([(Text(name, style="bold"), room) for name, room in widths.items()])
    for number, schedule in enumerate(schedules):
        yield line_of([(columns[name][number], room) for name, room in widths.items()])
        if is_broken(schedule):
            note = plain(f"  {schedule.last_note or ''}", "red")
            if width is not None:
                note.truncate(width, overflow="ellipsis")
            yield note


def schedule_document(
    schedule: ScheduleRecord, live: dict[str, JobStatus] | None = None
) -> dict[str, Any]:
    """A schedule as JSON: moments in ISO 8601, documents decoded, secrets masked."""
    document = asdict(schedule)
    del document["fire_token"]
    for column in ("params", "retry_policy", "runtime"):
        if document[column] is not None:
            document[column] = masked_document(document[column])
    document["ended"] = schedule.next_run_at == NEVER
    if schedule.next_run_at == NEVER:
        document["next_run_at"] = None
    if live is not None:
        document["live_jobs"] = [{"id": key, "status": str(status)} for key, status in live.items()]
    return {column: json_value(value) for column, value in document.items()}


def schedule_lines(schedule: ScheduleRecord, live: dict[str, JobStatus]) -> Iterator[Text]:
    """All there is to know about one schedule, times in UTC."""
    yield Text.assemble(plain(schedule.name, "bold"), "  ", _state(schedule))
    for label, value in _facts(schedule, live):
        if value:
            yield Text.assemble((f"{label:<13} ", "dim"), plain(value))
    for label, text in (("params", schedule.params), ("runtime", schedule.runtime)):
        if text is not None:
            yield Text(label, style="bold")
            indented = "\n".join(f"  {it}" for it in as_json(masked_document(text)).splitlines())
            yield plain(indented)


def is_broken(schedule: ScheduleRecord) -> bool:
    """Whether it can't be read, and so doesn't fire."""
    return schedule.enabled and schedule.last_decision == Decision.BROKEN


def next_time(schedule: ScheduleRecord) -> str:
    """When it fires next, in words."""
    if not schedule.enabled or is_broken(schedule):
        return ""
    if schedule.next_run_at is None:
        return "not computed yet"
    return "never" if schedule.next_run_at == NEVER else moment(schedule.next_run_at)


def both_clocks(fire_time: datetime, schedule_zone: Any) -> str:
    """A fire time by its zone's clock and in UTC."""
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
        return plain("broken", "bold red")
    return plain("on", "green") if schedule.enabled else plain("off", "yellow")


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)
