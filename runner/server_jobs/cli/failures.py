"""Turns errors into messages for people, and into exit statuses."""

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
    0: "done; a worker was stopped, or has drained its queues",
    FAILED: "failed, and the message says why: no record has that id, a named job couldn't be"
    " retried or cancelled, a watched job didn't complete, a worker had to leave handlers behind,"
    " or doctor found something",
    USAGE: "used wrongly, and nothing was done: an option, setting, app, job name or param is"
    " wrong",
    130: "interrupted by Ctrl-C",
}


def exit_code(error: ServerJobsError) -> int:
    """Return the exit status for an error."""
    if isinstance(error, MissingDependencyError):
        return FAILED
    return USAGE if isinstance(error, _USED_WRONGLY) else FAILED


def report(error: ServerJobsError, *, debug: bool = False, database: str | None = None) -> None:
    """Print an error on stderr. ``database`` is the URL that the command line gave."""
    if debug:
        typer.echo(mask_passwords("".join(traceback.format_exception(error))), err=True, nl=False)
    elif isinstance(error, InvalidAppError) and error.__cause__ is not None:
        # The app's own code raised. Its author needs to know where.
        typer.echo(mask_passwords(_users_traceback(error.__cause__)), err=True, nl=False)
    error_line(with_database(str(error), database))


def with_database(text: str, url: str | None) -> str:
    """Return the text, with advice to migrate completed by the database that was given."""
    if url is None:
        return text
    option = shlex.quote(url) if mask_passwords(url) == url else "…"
    return text.replace("`server-jobs migrate`", f"`server-jobs migrate --database {option}`")


def _users_traceback(error: BaseException) -> str:
    """Return the traceback without our own frames, which led into the user's code."""
    inner: TracebackType | None = error.__traceback__
    while inner is not None and _is_machinery(inner.tb_frame.f_code.co_filename):
        inner = inner.tb_next
    return "".join(traceback.format_exception(type(error), error, inner))


def _is_machinery(filename: str) -> bool:
    folders = {Path(__file__).parent, Path(importlib.__file__).parent}
    return filename.startswith("<frozen importlib") or Path(filename).parent in folders
