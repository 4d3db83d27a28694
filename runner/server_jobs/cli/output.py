"""Prints results on stdout, and remarks and errors on stderr. Colours are for terminals only."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from server_jobs.cli.streams import spelled
from server_jobs.masks import mask_passwords
from server_jobs.records.status import JobStatus
from server_jobs.records.text import escaped, json_without_controls, without_controls

_UNBOUNDED = 10_000

STATUS_STYLES = {
    JobStatus.PENDING: "",
    JobStatus.RUNNING: "cyan",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "yellow",
}


def console() -> Console:
    """Return a console on stdout. In a pipe, its lines are as long as they need to be."""
    width = None if sys.stdout.isatty() else _UNBOUNDED
    return Console(highlight=False, markup=False, emoji=False, width=width)


def terminal_width() -> int | None:
    """Return the width of the terminal, or None if stdout isn't one."""
    return console().width if sys.stdout.isatty() else None


def plain(text: object, style: str = "") -> Text:
    """Return text that came from a job, without markup and without the terminal's control codes."""
    return Text(spelled(without_controls(str(text))), style=style)


def on_one_line(name: str) -> str:
    """Return an id or a name as it is typed: on one line, and not empty.

    Only other programs write such ids.
    """
    return str(name).replace("\n", escaped("\n")).replace("\t", escaped("\t")) or "''"


def remarks_console() -> Console:
    """Return a console on stderr."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def remark(text: str) -> None:
    """Print a line on stderr that isn't part of the result."""
    remarks_console().print(plain(text, "dim"), soft_wrap=True)


def error_line(text: str) -> None:
    """Print an error on stderr."""
    remarks_console().print(
        Text.assemble(("Error: ", "bold red"), plain(mask_passwords(text))), soft_wrap=True
    )


def print_json(document: Any) -> None:
    """Print a document on stdout as JSON."""
    typer.echo(as_json(document))


def print_plain(lines: Iterable[str]) -> None:
    """Print lines for programs on stdout."""
    for line in lines:
        typer.echo(plain(on_one_line(line)).plain)


def as_json(document: Any, *, indent: int | None = 2) -> str:
    """Return a document as JSON that stdout can show."""
    # Rows need SQLAlchemy, and whoever asks for help shan't wait for it.
    from server_jobs.cli.documents import json_value

    document = json_value(document)
    text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)
    text = json_without_controls(text)
    return text if spelled(text) == text else json.dumps(document, indent=indent, allow_nan=False)


def moment(value: object) -> str:
    """Return a time in UTC, to the second. None is an empty text, and no time is shown as it is."""
    if value is None:
        return ""
    with suppress(OverflowError):  # in UTC, it would lie outside of the years 1 to 9999
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat(" ", "seconds")[:19]
    return str(value)


def percent(progress: object) -> str:
    """Return a job's progress, rounded. Only a complete job has 100 %."""
    if not isinstance(progress, float | int) or not math.isfinite(progress):
        return f"{progress} %"
    return f"{100 if progress >= 100 else min(round(progress), 99)} %"


def print_lines(lines: Iterable[Text]) -> None:
    """Print lines on stdout whole. A terminal wraps lines that are too long for it."""
    out = console()
    for line in lines:
        out.print(line, soft_wrap=True)
