"""Before and while many jobs are changed: a question, and a bar."""

from __future__ import annotations

import sys

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from server_jobs.cli.failures import FAILED
from server_jobs.cli.output import remark, remarks_console


def ask(question: str) -> None:
    """Go on only if a person at a terminal says so. Raises Exit, or BadParameter without one."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise typer.BadParameter(
            f"{question} There is no terminal to ask on: say --yes, or --dry-run to see what would"
            " be done.",
            param_hint="--yes",
        )
    if not typer.confirm(question, err=True):
        remark("nothing was done")
        raise typer.Exit(FAILED)


def progress_bar() -> Progress:
    """On stderr, where that is a terminal."""
    console = remarks_console()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
