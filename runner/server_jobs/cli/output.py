"""What is printed: results on stdout, remarks and errors on stderr, colours on a terminal only."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from server_jobs.cli.masks import mask_passwords
from server_jobs.records.status import JobStatus

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNBOUNDED = 10_000

STATUS_STYLES = {
    JobStatus.PENDING: "",
    JobStatus.RUNNING: "cyan",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "yellow",
}


def console() -> Console:
    """Stdout, for people. In a pipe, lines are as long as they need to be."""
    width = None if sys.stdout.isatty() else _UNBOUNDED
    return Console(highlight=False, markup=False, emoji=False, width=width)


def terminal_width() -> int | None:
    """How wide the terminal is; None where stdout is none."""
    return console().width if sys.stdout.isatty() else None


def plain(text: object, style: str = "") -> Text:
    """Text that came out of a job: no markup, and no control codes for the terminal to obey."""
    return Text(_CONTROLS.sub("�", str(text)), style=style)


def remarks_console() -> Console:
    """Stderr, for people."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def remark(text: str) -> None:
    """A line on stderr that is no part of the result."""
    remarks_console().print(plain(text, "dim"), soft_wrap=True)


def error_line(text: str) -> None:
    """What went wrong, on stderr."""
    remarks_console().print(
        Text.assemble(("Error: ", "bold red"), plain(mask_passwords(text))), soft_wrap=True
    )


def print_json(document: Any) -> None:
    """A document on stdout, and nothing else."""
    typer.echo(as_json(document))


def print_plain(lines: Iterable[str]) -> None:
    """Lines for programs on stdout."""
    for line in lines:
        typer.echo(_CONTROLS.sub("�", line))


def as_json(document: Any) -> str:
    """A document as people read it."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def moment(value: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return "" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def percent(progress: float) -> str:
    """How far a job is, rounded; 100 only where it is."""
    return f"{100 if progress >= 100 else min(round(progress), 99)} %"


def print_lines(lines: Iterable[Text]) -> None:
    """Lines on stdout as long as they are: a terminal breaks them, a pipe gets them whole."""
    out = console()
    for line in lines:
        out.print(line, soft_wrap=True)
