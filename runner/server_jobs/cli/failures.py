"""From an error to what the person at the terminal is told, and to an exit status."""

from __future__ import annotations

import importlib
import shlex
import traceback
from pathlib import Path
from types import TracebackType

import typer

from server_jobs.cli.masks import mask_passwords
from server_jobs.cli.output import error_line
from server_jobs.errors import (
    ConfigurationError,
    InvalidAppError,
    InvalidOptionError,
    InvalidParamsError,
    InvalidScheduleError,
    MissingDependencyError,
    ServerJobsError,
    UnknownJobError,
)

NAMED_DATABASE = "server_jobs.database"
"""Under this key, the context holds the URL that the command line itself gave."""

FAILED = 1
USAGE = 2

_USED_WRONGLY = (
    ConfigurationError,
    InvalidOptionError,
    InvalidParamsError,
    InvalidScheduleError,
    UnknownJobError,
)

EXIT_CODES = {
    0: "done; for a worker: stopped as it was asked to, or the queues are drained",
    FAILED: "failed: the message says why. No record has that id; a job that was named couldn't be"
    " retried or cancelled; a watched one didn't complete; a worker had to leave handlers behind;"
    " doctor found something",
    USAGE: "used wrongly: an option, setting, app, job name or param is wrong; nothing was done",
    130: "interrupted by Ctrl-C",
}


def exit_code(error: ServerJobsError) -> int:
    """The exit status that an error ends the process with."""
    if isinstance(error, MissingDependencyError):
        return FAILED
    return USAGE if isinstance(error, _USED_WRONGLY) else FAILED


def report(error: ServerJobsError, *, debug: bool = False, database: str | None = None) -> None:
    """Say what went wrong, on stderr. ``database`` is the URL that the command line gave."""
    if debug:
        typer.echo(mask_passwords("".join(traceback.format_exception(error))), err=True, nl=False)
    elif isinstance(error, InvalidAppError) and error.__cause__ is not None:
        # The app's own code raised: where it did is what its author needs to know.
        typer.echo(mask_passwords(_users_traceback(error.__cause__)), err=True, nl=False)
    error_line(with_database(str(error), database))


def with_database(text: str, url: str | None) -> str:
    """The text, its advice to migrate meant for the database that the command was given."""
    if url is None:
        return text
    option = shlex.quote(url) if mask_passwords(url) == url else "…"
    return text.replace("`server-jobs migrate`", f"`server-jobs migrate --database {option}`")


def _users_traceback(error: BaseException) -> str:
    """The traceback without the frames that led into the user's code."""
    inner: TracebackType | None = error.__traceback__
    while inner is not None and _is_machinery(inner.tb_frame.f_code.co_filename):
        inner = inner.tb_next
    return "".join(traceback.format_exception(type(error), error, inner))


def _is_machinery(filename: str) -> bool:
    folders = {Path(__file__).parent, Path(importlib.__file__).parent}
    return filename.startswith("<frozen importlib") or Path(filename).parent in folders
