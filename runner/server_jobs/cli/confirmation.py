"""The question before many jobs are changed, and the bar while they are."""

from __future__ import annotations

import sys

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from server_jobs.cli.failures import FAILED
from server_jobs.cli.output import remark, remarks_console


def ask(question: str) -> None:
    """Ask a person whether to go on.

    Raises Exit if the answer is no, and BadParameter if there is no terminal to ask on.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise typer.BadParameter(
            f"{question} There is no terminal to ask on. Give --yes, or --dry-run to see what"
            " would be done.",
            param_hint="--yes",
        )
    if not typer.confirm(question, err=True):
        remark("nothing was done")
        raise typer.Exit(FAILED)


def progress_bar() -> Progress:
    """Return a progress bar on stderr. It shows only if stderr is a terminal."""
    console = remarks_console()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
