"""A list of jobs, one line each, that fits the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.text import Text

from server_jobs.cli.output import STATUS_STYLES, moment, on_one_line, percent
from server_jobs.cli.tables import Column, cell, fitting, table_lines
from server_jobs.records.rows import JobRecord, JobSummary
from server_jobs.records.status import JobStatus

_SHORT_ID = 18
"""The first thirteen characters tell the millisecond; the next five tell ids of one apart."""


def job_lines(
    records: Sequence[JobRecord], width: int | None, *, now: datetime | None = None
) -> Iterator[Text]:
    """Return headings and a line for each record, none wider than the width. None cuts nothing.

    Where room is short, notes, queues and names are cut. Then moments are shortened, and queues,
    moments and attempts are left out. Ids are there to be copied, so they are shortened last, to a
    beginning that the other commands take. Where even that doesn't fit, notes and names go.
    """
    today = (now or datetime.now(UTC)).date()
    due = [record.scheduled_for.astimezone(UTC) for record in records]
    notes = [cell(note_of(record)) for record in records]
    names = [cell(record.job_name) for record in records]
    columns = [
        Column("ID", [cell(on_one_line(record.id)) for record in records]),
        Column("JOB", names, least=12),
        Column("STATUS", [cell(record.status, STATUS_STYLES[record.status]) for record in records]),
        Column(
            "TRY", [cell(f"{record.attempt_count}/{record.max_attempts}") for record in records]
        ),
        Column("QUEUE", [cell(record.queue) for record in records], least=7),
        Column("DUE", [cell(moment(at)) for at in due]),
        Column("NOTE", notes, least=30),
    ]
    to_the_minute = [cell(f"{at:%m-%d %H:%M}") for at in due]
    as_ps_does = [cell(f"{at:%H:%M}" if at.date() == today else f"{at:%m-%d}") for at in due]
    steps = (
        Column("DUE", to_the_minute),
        "QUEUE",
        Column("DUE", as_ps_does),
        Column("NOTE", notes, least=17),
        "DUE",
        "TRY",
        Column(
            "ID",
            [cell(on_one_line(job_id)) for job_id in short_ids([record.id for record in records])],
        ),
        Column("NOTE", notes, least=14),
        "NOTE",
        Column("JOB", names, least=6),
        "JOB",
        "STATUS",
    )
    return table_lines(fitting(columns, width, steps), width)


def short_ids(job_ids: Sequence[str]) -> list[str]:
    """Return beginnings of the ids. Ids that begin alike are returned whole."""
    short = [job_id[:_SHORT_ID] for job_id in job_ids]
    return short if len(set(short)) == len(set(job_ids)) else list(job_ids)


def note_of(record: JobRecord | JobSummary) -> str:
    """Return what to know of a job at a glance: what is broken, how far it is, why it failed."""
    if isinstance(record, JobRecord) and record.misfits:
        column, problem = next(iter(record.misfits.items()))
        text = f"broken: column {column} {problem}"
    elif record.status is JobStatus.RUNNING:
        text = f"{percent(record.progress)} {record.progress_message or ''}"
    elif record.error is not None and record.status is not JobStatus.COMPLETED:
        text = record.error
    else:
        text = record.progress_message or ""
    return " ".join(text.split())
