"""Turns errors into messages for people, and into exit statuses."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from server_jobs.cli.output import error_line
from server_jobs.cli.streams import READER_GONE
from server_jobs.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    InvalidAppError,
    InvalidOptionError,
    InvalidParamsError,
    InvalidScheduleError,
    MissingDependencyError,
    ServerJobsError,
    UnknownJobError,
)
from server_jobs.masks import mask_passwords
from server_jobs.records.text import traceback_of

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
    " doctor found something, or the output was lost",
    USAGE: "used wrongly, and nothing was done: an option, setting, app, job name or param is"
    " wrong",
    130: "interrupted by Ctrl-C",
    READER_GONE: "nobody reads the output any more, as behind a pipe to head",
    143: "ended by SIGTERM; a worker only if it had claimed nothing yet",
}


def exit_code(error: ServerJobsError) -> int:
    """Return the exit status for an error."""
    if isinstance(error, MissingDependencyError):
        return FAILED
    return USAGE if isinstance(error, _USED_WRONGLY) else FAILED


@contextmanager
def unless_unanswered(advice: str) -> Iterator[None]:
    """Add to the error of a database that went away what may have been done all the same.

    The statement may have been committed, and only its answer lost. ``advice`` says so, and what to
    do now.
    """
    try:
        yield
    except DatabaseUnavailableError as error:
        raise DatabaseUnavailableError(f"{error}\n{advice}") from error


def report(error: ServerJobsError, *, debug: bool = False, database: str | None = None) -> None:
    """Print an error on stderr. ``database`` is the URL that the command line gave."""
    if debug:
        typer.echo(mask_passwords("".join(traceback.format_exception(error))), err=True, nl=False)
    elif isinstance(error, InvalidAppError) and error.__cause__ is not None:
        # The app's own code raised. Its author needs to know where.
        typer.echo(mask_passwords(traceback_of(error.__cause__)), err=True, nl=False)
    error_line(with_database(str(error), database))


def with_database(text: str, url: str | None) -> str:
    """Return the text, with advice to migrate completed by the database that was given."""
    if url is None:
        return text
    option = shlex.quote(url) if mask_passwords(url) == url else "…"
    return text.replace("`server-jobs migrate`", f"`server-jobs migrate --database {option}`")
