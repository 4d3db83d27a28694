"""From an error to what the person at the terminal is told, and to an exit status."""

from __future__ import annotations

import shlex
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from server_jobs.cli.masks import mask_passwords
from server_jobs.cli.options import NAMED_DATABASE
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
from server_jobs.records.text import traceback_of

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


# What the parser raises; its name isn't public, that of its child is.
_UsageError: Any = typer.BadParameter.__base__


class PlainGroup(TyperGroup):
    """A group of commands whose help is plain."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; its help shows no type beside what is only on or off."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _hide_types_of_flags(command.get_params(ctx))
        return command

    def get_params(self, ctx: Any) -> Any:
        """The same for options of all commands."""
        params = super().get_params(ctx)
        _hide_types_of_flags(params)
        return params


class ReportingGroup(PlainGroup):
    """One whose errors of our own become a line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; raises what isn't an error of ours."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            # It quotes what it didn't understand, a database URL in the wrong place for instance.
            error.message = mask_passwords(error.message)
            raise
        except ServerJobsError as error:
            named = ctx.meta.get(NAMED_DATABASE)
            report(error, debug=bool(ctx.params.get("debug")), database=named)
            raise typer.Exit(exit_code(error)) from None


def _hide_types_of_flags(params: Any) -> None:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""


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
        typer.echo(mask_passwords(traceback_of(error.__cause__)), err=True, nl=False)
    error_line(with_database(str(error), database))


def with_database(text: str, url: str | None) -> str:
    """The text, its advice to migrate meant for the database that the command was given."""
    if url is None:
        return text
    option = shlex.quote(url) if mask_passwords(url) == url else "…"
    return text.replace("`server-jobs migrate`", f"`server-jobs migrate --database {option}`")
