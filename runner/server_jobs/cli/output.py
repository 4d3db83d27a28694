"""Prints results on stdout, and remarks and errors on stderr. Colours are for terminals only."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from server_jobs.masks import mask_passwords
from server_jobs.records.status import JobStatus
from server_jobs.records.text import without_controls

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
    return Text(without_controls(str(text)), style=style)


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
        typer.echo(without_controls(line))


def as_json(document: Any) -> str:
    """Return a document as indented JSON."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def moment(value: datetime | None) -> str:
    """Return a time in UTC, to the second. None is an empty text."""
    return "" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def percent(progress: float) -> str:
    """Return a job's progress, rounded. Only a complete job has 100 %."""
    return f"{100 if progress >= 100 else min(round(progress), 99)} %"


def print_lines(lines: Iterable[Text]) -> None:
    """Print lines on stdout whole. A terminal wraps lines that are too long for it."""
    out = console()
    for line in lines:
        out.print(line, soft_wrap=True)
