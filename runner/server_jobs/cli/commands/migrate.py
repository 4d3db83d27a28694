"""``migrate``: makes the tables, and brings them up to date."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from server_jobs.cli.database import lasting_file
from server_jobs.cli.dialect import DialectOption, dialect_of
from server_jobs.cli.durations import in_words, seconds_or_forever
from server_jobs.cli.options import DatabaseOption
from server_jobs.database import DEFAULT_DATABASE_URL
from server_jobs.errors import DatabaseUnavailableError
from server_jobs.migrate import migrate as bring_up_to_date
from server_jobs.migrate import migration_files, migration_sql, rows_in_the_way_sql


def migrate(
    database: DatabaseOption = None,
    *,
    sql: Annotated[
        bool, typer.Option("--sql", help="Write the SQL of all steps, and run none of it.")
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into",
            file_okay=False,
            exists=True,
            help="With --sql: write a file for each step into this folder.",
        ),
    ] = None,
    in_the_way: Annotated[
        bool,
        typer.Option(
            "--in-the-way",
            help="With --sql: write instead the query of the rows that the last step refuses.",
        ),
    ] = False,
    dialect: DialectOption = None,
    wait: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            envvar="SERVER_JOBS_MIGRATE_WAIT",
            help="How long to wait for a database that doesn't answer yet: 90s, 15m, forever.",
        ),
    ] = "0s",
) -> None:
    """Make the tables, or bring them up to date.

    It is safe to run at every deployment and from several machines at once. It
    changes no table that server-jobs didn't create.

    server-jobs migrate
    server-jobs migrate --database postgresql://user:password@host/name
    server-jobs migrate --sql --dialect postgresql > server-jobs.sql
    server-jobs migrate --sql --dialect sqlite --into migrations

    To put the tables elsewhere, set SERVER_JOBS_SCHEMA (PostgreSQL) or
    SERVER_JOBS_TABLE_PREFIX; set them for your program, too.
    """
    url = database or DEFAULT_DATABASE_URL
    if in_the_way:
        if not sql or into is not None:
            raise typer.BadParameter("goes with --sql alone.", param_hint="--in-the-way")
        typer.echo(rows_in_the_way_sql(dialect or dialect_of(url)), nl=False)
        return
    if sql and into is not None:
        for name, script in migration_files(dialect or dialect_of(url)).items():
            (into / name).write_text(script, encoding="utf-8")
            typer.echo(f"wrote {into / name}")
        return
    if into is not None:
        raise typer.BadParameter("goes with --sql.", param_hint="--into")
    if sql:
        typer.echo(migration_sql(dialect or dialect_of(url)), nl=False)
        return
    if dialect is not None:
        raise typer.BadParameter(
            "goes with --sql; a database speaks its own dialect.", param_hint="--dialect"
        )
    lasting_file(url)
    steps = _patiently(url, seconds_or_forever(wait, "--wait"))
    for step in steps:
        typer.echo(f"applied {step}")
    if not steps:
        typer.echo("nothing to do: the tables are up to date")


def _patiently(url: str, patience: float | None) -> list[str]:
    """Migrate. Wait up to ``patience`` seconds for a database that is away; None is for ever."""
    began, pause = time.monotonic(), 0.5
    while True:
        try:
            return bring_up_to_date(url)
        except DatabaseUnavailableError as error:
            if patience is not None and time.monotonic() + pause > began + patience:
                raise
            typer.echo(
                f"the database is away, trying again in {in_words(pause)}: {error}", err=True
            )
        time.sleep(pause)
        pause = min(2 * pause, 10.0)
