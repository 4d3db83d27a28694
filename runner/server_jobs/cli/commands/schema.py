"""``schema``: prints the tables as SQL."""

from __future__ import annotations

import typer

from server_jobs.cli.dialect import DialectOption, dialect_of
from server_jobs.cli.options import DatabaseOption
from server_jobs.database import DEFAULT_DATABASE_URL, table_names
from server_jobs.migrate import schema_sql


def schema(dialect: DialectOption = None, database: DatabaseOption = None) -> None:
    """Print the SQL of the tables as this release needs them.

    It is for reading and comparing. `server-jobs migrate` makes the tables.

    server-jobs schema --dialect postgresql
    """
    chosen = dialect or dialect_of(database or DEFAULT_DATABASE_URL)
    typer.echo(schema_sql(chosen, table_names()), nl=False)
