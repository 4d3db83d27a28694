"""The filters: options that choose jobs. They are the same for all commands."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from server_jobs.cli.durations import as_typed, seconds_of
from server_jobs.cli.signatures import takes
from server_jobs.records.requests import JobFilter
from server_jobs.records.status import JobStatus

_PANEL = "Which jobs"

NameOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Jobs of this name. May be repeated, like the next two.",
        rich_help_panel=_PANEL,
    ),
]
StatusOption: TypeAlias = Annotated[
    list[JobStatus] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        case_sensitive=False,
        help="Jobs of this status: pending, running, completed, failed or cancelled.",
        rich_help_panel=_PANEL,
    ),
]
QueueOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--queue", metavar="NAME", help="Jobs of this queue.", rich_help_panel=_PANEL),
]
CorrelationOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--correlation-id",
        metavar="ID",
        help="Jobs with this correlation id.",
        rich_help_panel=_PANEL,
    ),
]
OlderOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--older-than",
        metavar="DURATION",
        help="Jobs created longer ago than this: 90s, 15m, 2h, 7d. A plain number is seconds.",
        rich_help_panel=_PANEL,
    ),
]
NewerOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--newer-than",
        metavar="DURATION",
        help="Jobs created less long ago than this.",
        rich_help_panel=_PANEL,
    ),
]


def job_filter(
    *,
    name: NameOption = None,
    status: StatusOption = None,
    queue: QueueOption = None,
    correlation_id: CorrelationOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
) -> JobFilter:
    """Return the filter that the options ask for. Raises BadParameter."""
    older = None if older_than is None else seconds_of(older_than, "--older-than")
    newer = None if newer_than is None else seconds_of(newer_than, "--newer-than")
    if older is not None and newer is not None and newer <= older:
        raise typer.BadParameter(
            f"nothing is older than {older_than} and newer than {newer_than}.",
            param_hint="--newer-than",
        )
    return JobFilter(
        job_names=tuple(dict.fromkeys(name or ())),
        statuses=tuple(dict.fromkeys(status or ())),
        queues=tuple(dict.fromkeys(queue or ())),
        correlation_id=correlation_id,
        older_than=older,
        newer_than=newer,
    )


takes_filters = takes("wanted", job_filter)
"""Gives a command the filters' options in place of its parameter ``wanted``."""


def as_arguments(wanted: JobFilter) -> list[str]:
    """Return the options that ask for this filter, as they would be typed."""
    ages = (("--older-than", wanted.older_than), ("--newer-than", wanted.newer_than))
    return [
        *(word for name in wanted.job_names for word in ("--name", name)),
        *(word for status in wanted.statuses for word in ("--status", status.value)),
        *(word for queue in wanted.queues for word in ("--queue", queue)),
        *(("--correlation-id", wanted.correlation_id) if wanted.correlation_id is not None else ()),
        *(word for age, s in ages if s is not None for word in (age, as_typed(s))),
    ]
