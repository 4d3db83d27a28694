"""Databases as an older release has left them: at a step before the last, with rows."""

import contextlib
import io
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config

import server_jobs.migrations
from server_jobs.sql.tables import Tables

Rows = list[tuple[Any, ...]]


def make_tables_at(step: str, url: str, names: Tables) -> None:
    """Take the steps up to this one: they are frozen, so it is what that release did."""
    written = io.StringIO()
    config = Config(output_buffer=written)
    config.set_main_option("script_location", str(Path(server_jobs.migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes.update(tables=names, dialect_name=url.partition(":")[0])
    command.upgrade(config, step, sql=True)
    schema = f'CREATE SCHEMA "{names.schema}";\n' if names.schema else ""
    run_sql(url, schema + written.getvalue())


def run_sql(url: str, script: str) -> None:
    """Run statements, as a person at a console would."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            file.executescript(script)
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(script.encode())


def read_sql(url: str, query: str) -> Rows:
    """Read rows."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            file.text_factory = lambda raw: raw.decode(errors="backslashreplace")
            return file.execute(query).fetchall()
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()
