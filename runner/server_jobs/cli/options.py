"""Options that several commands have. Each one can be set in the environment too."""

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


DatabaseOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar=list(URL_VARIABLES),
        metavar="URL",
        show_default=DEFAULT_DATABASE_URL,
        callback=_note_database,
        help="sqlite:///file.db, postgresql://user:password@host/name or libsql://host.",
    ),
]

AppOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--app",
        envvar="SERVER_JOBS_APP",
        metavar="MODULE:REGISTRY",
        show_default=False,
        help="Where your jobs are, for instance myapp.jobs:registry; looked for from the current"
        " directory on. A database that it has bound is used where --database isn't given.",
    ),
]

JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON, secrets masked, and nothing else.")
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
        help="The least that is worth a line.",
    ),
]
