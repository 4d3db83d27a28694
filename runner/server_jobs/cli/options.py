"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import typer

from server_jobs.cli.failures import NAMED_DATABASE
from server_jobs.cli.logs import LogFormat, LogLevel
from server_jobs.database import DEFAULT_DATABASE_URL, URL_VARIABLES


def _note_database(context: typer.Context, parameter: typer.CallbackParam, url: str | None) -> Any:
    source = context.get_parameter_source(parameter.name or "")
    if source is not None and source.name == "COMMANDLINE":
        if not url:
            raise typer.BadParameter("is empty: give a URL, or leave the option out.")
        context.meta[NAMED_DATABASE] = url
    return url


def _database_option(shown_default: str) -> Any:
    return typer.Option(
        "--database",
        envvar=list(URL_VARIABLES),
        metavar="URL",
        show_default=shown_default,
        callback=_note_database,
        help="Where the tables are: sqlite:///file.db, postgresql://user:password@host/name or"
        " libsql://host.",
    )


DatabaseOption: TypeAlias = Annotated[str | None, _database_option(DEFAULT_DATABASE_URL)]

AppsDatabaseOption: TypeAlias = Annotated[
    str | None, _database_option(f"the app's own, else {DEFAULT_DATABASE_URL}")
]
"""The option of commands that work on an app, which may have bound a database itself."""

AppOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--app",
        envvar="SERVER_JOBS_APP",
        metavar="MODULE:REGISTRY",
        show_default=False,
        help="Where your jobs are, for instance myapp.jobs:registry. Python looks for the module"
        " from"
        " the current directory on. Required.",
    ),
]

KnownAppOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--app",
        envvar="SERVER_JOBS_APP",
        metavar="MODULE:REGISTRY",
        show_default=False,
        help="Where your jobs are. With it, job names that the app doesn't have are pointed out.",
    ),
]

JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON, with secrets masked, and nothing else.")
]

LogFormatOption: TypeAlias = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        envvar="SERVER_JOBS_LOG_FORMAT",
        case_sensitive=False,
        help="auto is console on a terminal and JSON lines elsewhere.",
    ),
]

LogLevelOption: TypeAlias = Annotated[
    LogLevel,
    typer.Option(
        "--log-level",
        envvar="SERVER_JOBS_LOG_LEVEL",
        case_sensitive=False,
        help="The least important lines to write.",
    ),
]

ParamOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="NAME=VALUE",
        help="One of the params, as text that its type reads. NAME:=JSON gives JSON, and dots"
        " lead into nested params. May be repeated; the same name again makes a list.",
    ),
]

ParamsJsonOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--params-json",
        metavar="JSON",
        help="All params. With -, they are read from standard input. A --param takes precedence.",
    ),
]

OwnQueueOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--queue", show_default="the job's own", help="The queue that a job goes to."),
]

PriorityOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--priority",
        show_default="the job's own",
        help="Jobs of higher priority are claimed first.",
    ),
]

MaxAttemptsOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--max-attempts",
        show_default="the job's own",
        help="How many attempts a job has. The first one counts.",
    ),
]
