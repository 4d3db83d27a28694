"""Brings the tables to this release's schema, or writes the SQL that does.

The work is done by Alembic, which comes with the extra ``server-jobs[cli]``. Programs that only
enqueue or execute jobs don't need it.
"""

from __future__ import annotations

import asyncio
import io
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Text,
    column,
    create_engine,
    event,
    inspect,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex, CreateTable

from server_jobs.database import (
    Database,
    LibsqlUrl,
    SqliteUrl,
    connect,
    locate,
    sqlite,
    table_names,
)
from server_jobs.errors import (
    ConfigurationError,
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    ForeignTableError,
    MissingDependencyError,
    SchemaTooNewError,
)
from server_jobs.sql.rules import complete_tables
from server_jobs.sql.statement import Statement
from server_jobs.sql.tables import Tables

if TYPE_CHECKING:
    from server_jobs.database.postgres_url import PostgresUrl

_ADVISORY_LOCK = 7_358_213_469_012_837
_BUSY_SECONDS = 30
_INVALID_COLUMN_REFERENCE = "42P10"
_NOT_IN_PREREQUISITE_STATE = "55000"
# Alembic's environment finds its context in a global variable, so two threads must take turns.
_one_at_a_time = threading.Lock()


def migrate(url: str, *, schema: str | None = None, table_prefix: str | None = None) -> list[str]:
    """Bring the tables at ``url`` to this release → the steps that were taken, oldest first.

    Several processes may call it at once: one migrates, the others wait and find it done. Raises
    ForeignTableError if server-jobs didn't create the tables of these names, SchemaTooNewError if
    a newer release has migrated them, RowsInTheWayError if rows break a rule that a step adds,
    ConfigurationError inside a migration of your own, MissingDependencyError,
    DatabaseUnavailableError and DatabaseError. What it raises leaves the tables as they were.
    """
    with _one_at_a_time:
        _refuse_inside_alembic()
    parsed, names = locate(url, schema=schema, table_prefix=table_prefix)
    steps = _steps()
    if isinstance(parsed, LibsqlUrl):
        return _migrate_over_http(connect(url, schema=schema, table_prefix=table_prefix), steps)
    engine = _engine(parsed, names)
    try:
        with _locked(engine, names) as connection:
            before = _current(connection, names)
            if before is None:
                _refuse_foreign(connection, names)
                _refuse_other_encodings(connection)
            _refuse_unknown(before, steps)
            _alembic("upgrade", names, connection=connection)
            return steps[steps.index(before) + 1 :] if before in steps else steps
    except DBAPIError as error:
        kind = DatabaseUnavailableError if _is_connection_error(error) else DatabaseError
        raise kind(f"{parsed.shown}: {_said(error, parsed)}") from error
    finally:
        engine.dispose()


def migration_sql(
    dialect_name: str, *, schema: str | None = None, table_prefix: str | None = None
) -> str:
    """Return all steps as one SQL script for ``sqlite`` (libSQL and D1 too) or ``postgresql``."""
    return _offline(dialect_name, table_names(schema, table_prefix), "head")


def migration_files(
    dialect_name: str, *, schema: str | None = None, table_prefix: str | None = None
) -> dict[str, str]:
    """Return each step as a SQL script → scripts by file name, in the order of the steps.

    This is for tools that record the applied files by name (``wrangler d1 migrations apply``).
    """
    names = table_names(schema, table_prefix)
    steps = _steps()
    ranges = [steps[0], *(f"{one}:{next}" for one, next in pairwise(steps))]
    return {
        f"{step}_server_jobs.sql": _offline(dialect_name, names, revisions)
        for step, revisions in zip(steps, ranges, strict=True)
    }


def rows_in_the_way_sql(
    dialect_name: str, *, schema: str | None = None, table_prefix: str | None = None
) -> str:
    """Return a query of the rows that the last step refuses → table, id and the rule it breaks.

    It is for tables of the step before, where another tool applies the files. On SQLite, libSQL
    and D1 an id is its bytes in hexadecimal digits, since it may be no text.
    """
    with _alembic_needed():
        from server_jobs.migrations.steps import rules_of

    rules = rules_of(_steps()[-1], dialect_name, table_names(schema, table_prefix))
    return "\nUNION ALL\n".join(each.query() for each in rules) + ";\n"


def include_name(name: str | None, type_: str, parent_names: Mapping[Any, str | None]) -> bool:
    """Tell your own Alembic whether to consider something that it has found in the database.

    ``context.configure(include_name=include_name, …)`` in your ``env.py`` keeps autogenerate from
    dropping the tables of server-jobs, which your metadata doesn't have. It returns False for these
    tables, as SERVER_JOBS_SCHEMA and SERVER_JOBS_TABLE_PREFIX name them, and True for all else.
    """
    return make_include_name()(name, type_, parent_names)


def make_include_name(
    *, schema: str | None = None, table_prefix: str | None = None
) -> Callable[[str | None, str, Mapping[Any, str | None]], bool]:
    """Make an :func:`include_name` for tables in this schema and with this prefix.

    What isn't given comes from SERVER_JOBS_SCHEMA and SERVER_JOBS_TABLE_PREFIX. Raises
    InvalidDatabaseUrlError.
    """
    names = table_names(schema, table_prefix)
    ours = {table.name for table in names.metadata.tables.values()} | {names.alembic_version}
    # Alembic has no name for the default schema, which nearly always is the one called public.
    schemas = {names.schema, None} if names.schema == "public" else {names.schema}

    def include(name: str | None, type_: str, parent_names: Mapping[Any, str | None]) -> bool:
        is_ours = type_ == "table" and name in ours and parent_names.get("schema_name") in schemas
        return not is_ours

    return include


def _offline(dialect_name: str, names: Tables, revisions: str) -> str:
    written = io.StringIO()
    _alembic(
        "upgrade",
        names,
        revisions,
        dialect_name=dialect_name,
        output_buffer=written,
        sql=True,
    )
    # D1 refuses BEGIN. D1, like every tool that applies files, begins a transaction itself.
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    lines = [line for line in lines if line not in {"BEGIN;", "COMMIT;"}]
    return "\n".join(lines).strip() + "\n"


def schema_sql(dialect_name: str, names: Tables | None = None) -> str:
    """Return the SQL that creates the tables as they are now, without the migrations' history."""
    wanted = complete_tables(names.schema, names.prefix) if names else complete_tables()
    dialect = _DIALECTS[dialect_name]()  # type: ignore[no-untyped-call]
    parts: list[Any] = []
    for each in wanted.metadata.sorted_tables:
        parts += [CreateTable(each), *(CreateIndex(i) for i in _indexes(each))]
    return "".join(f"{str(part.compile(dialect=dialect)).strip()};\n" for part in parts)


_DIALECTS = {"sqlite": SQLiteDialect, "postgresql": PGDialect}


def _indexes(table: Any) -> list[Any]:
    return sorted(table.indexes, key=lambda index: str(index.name))


def _alembic(
    command: str, names: Tables, revision: str = "head", *, sql: bool = False, **attributes: Any
) -> None:
    with _alembic_needed():
        from alembic import command as commands
        from alembic.config import Config
    config = Config(output_buffer=attributes.pop("output_buffer", None))
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(attributes, tables=names)
    with _one_at_a_time:
        _refuse_inside_alembic()
        getattr(commands, command)(config, revision, sql=sql)


def _refuse_inside_alembic() -> None:
    """Raise ConfigurationError inside a migration that Alembic runs in this process.

    A second run would remove the first one's context in the middle of its migration.
    """
    with _alembic_needed():
        from alembic import context

    if hasattr(context, "config"):  # there only while Alembic runs
        raise ConfigurationError(
            "server_jobs.migrate can't run inside a migration of your own, since Alembic runs one"
            " at a time in a process; run `server-jobs migrate` before or after yours"
        )


@contextmanager
def _alembic_needed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(
            "migrations need Alembic: pip install 'server-jobs[cli]'"
        ) from error


def _steps() -> list[str]:
    with _alembic_needed():
        from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(__file__).parent / "migrations"))
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


def _current(connection: Connection, names: Tables) -> str | None:
    if not inspect(connection).has_table(names.alembic_version, schema=names.schema):
        return None
    table = f'"{names.schema}".' if names.schema else ""
    return connection.execute(
        text(f'SELECT version_num FROM {table}"{names.alembic_version}"')  # noqa: S608 - checked names
    ).scalar()


def _refuse_foreign(connection: Connection, names: Tables) -> None:
    for ours in (names.jobs, names.cron_jobs):
        if inspect(connection).has_table(ours.name, schema=names.schema):
            raise _foreign(ours.fullname)


def _foreign(name: str) -> ForeignTableError:
    return ForeignTableError(
        f"the database has a table {name} that server-jobs didn't make and won't change; choose"
        " other names by a table prefix (SERVER_JOBS_TABLE_PREFIX) or, on PostgreSQL, a schema"
        " (SERVER_JOBS_SCHEMA)"
    )


def _refuse_unknown(step: str | None, steps: list[str]) -> None:
    if step is not None and step not in steps:
        raise SchemaTooNewError(
            f"the tables are at step {step}, which this release doesn't know: upgrade server-jobs"
        )


def _migrate_over_http(database: Database, steps: list[str]) -> list[str]:
    """Migrate libSQL, for which SQLAlchemy has no driver, by one script in one transaction."""

    async def work() -> list[str]:
        try:
            return await _apply_scripts(database, steps)
        finally:
            await database.close()

    # On another thread, since the caller's may already run an event loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work()).result()


async def _apply_scripts(database: Database, steps: list[str]) -> list[str]:
    from server_jobs.database.hrana import HranaDatabase

    assert isinstance(database, HranaDatabase)  # noqa: S101 - what connect() makes of such a URL
    names = database.tables
    while True:
        before = await _step_over_http(database)
        _refuse_unknown(before, steps)
        missing = steps[steps.index(before) + 1 :] if before else steps
        if not missing:
            return []
        # The guard ends the script if another process has taken the step meanwhile. Without a
        # version table the script ends by itself, since the tables exist already.
        guard = (
            f"SELECT json(CASE version_num WHEN '{before}' THEN '1' ELSE 'changed' END)"  # noqa: S608 - own names
            f' FROM "{names.alembic_version}";\n'
        )
        script = _offline("sqlite", names, f"{before}:head" if before else "head")
        try:
            await database.script((guard if before else "") + script)
        except ConstraintViolatedError:
            await _refuse_rows_in_the_way(database, missing)
            raise
        except DatabaseError:
            if await _step_over_http(database) == before:
                raise
        else:
            return missing


async def _refuse_rows_in_the_way(database: Database, steps: list[str]) -> None:
    """Raise RowsInTheWayError for the rows that break a rule of a step, if they can be told."""
    from server_jobs.migrations.steps import SHOWN, refuse_rows_in_the_way, rules_of

    for step in steps:
        for rules in rules_of(step, "sqlite", database.tables):
            query = rules.query(SHOWN).replace(":", "\\:")
            found = [(str(a), str(b), str(c)) for a, b, c in await database.execute(_sql(query))]
            if found:
                ((count,),) = await database.execute(_sql(rules.count.replace(":", "\\:")))
                refuse_rows_in_the_way(step, found, int(count), dialect_name="sqlite")


def _sql(query: str) -> Statement:
    return Statement(text(query))


async def _step_over_http(database: Database) -> str | None:
    names = database.tables
    master = table("sqlite_master", column("name", Text()), column("type", Text()))
    wanted = select(master.c.name).where(master.c.type == "table")
    there = {name for (name,) in await database.execute(Statement(wanted))}
    if names.alembic_version in there:
        version = table(names.alembic_version, column("version_num", Text()))
        rows = await database.execute(Statement(select(version.c.version_num)))
        return str(rows[0][0]) if rows else None
    for ours in (names.jobs, names.cron_jobs):
        if ours.name in there:
            raise _foreign(ours.name)
    return None


def _engine(parsed: SqliteUrl | PostgresUrl, names: Tables) -> Engine:
    if not isinstance(parsed, SqliteUrl):
        from server_jobs.database.postgres_connection import open_for_sqlalchemy

        # The same connection as the driver's, so that both read the URL alike.
        engine = create_engine(
            "postgresql+psycopg://",
            poolclass=NullPool,
            creator=lambda: open_for_sqlalchemy(parsed, names.schema),
        )
        # Runs before SQLAlchemy asks for the server's version, which would arrive as bytes.
        event.listen(engine, "connect", _refuse_bytes, insert=True)
        return engine
    engine = create_engine(
        URL.create("sqlite", database=str(parsed.file) if parsed.file else None),
        poolclass=NullPool,
        connect_args={"timeout": _BUSY_SECONDS},
    )
    # The driver would begin its own transaction only at the first row that is written.
    event.listen(engine, "connect", lambda connection, _: _by_hand(connection))
    event.listen(engine, "begin", lambda connection: _exclusive(connection))
    return engine


def _refuse_bytes(connection: Any, _: object) -> None:
    if _encoding(connection) == "SQL_ASCII":
        raise _wrong_encoding(connection, "which stores bytes rather than text")


def _refuse_other_encodings(connection: Connection) -> None:
    """Raise ConfigurationError for new tables in a database that lacks characters.

    One job's text with such a character would keep a worker from renewing its leases.
    """
    driver = connection.connection.driver_connection
    if connection.dialect.name == "postgresql" and _encoding(driver) != "UTF8":
        raise _wrong_encoding(driver, "which lacks most characters that jobs may have in them")


def _encoding(connection: Any) -> str | None:
    encoding: str | None = connection.info.parameter_status("server_encoding")
    return encoding


def _wrong_encoding(connection: Any, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the database {connection.info.dbname} has the encoding {_encoding(connection)}, {why};"
        " create a database with UTF8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    )


def _by_hand(connection: Any) -> None:
    connection.isolation_level = None
    with suppress(sqlite3.OperationalError):  # another process that migrates now sets it
        connection.execute("PRAGMA journal_mode = wal")


def _exclusive(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _locked(engine: Engine, names: Tables) -> Iterator[Connection]:
    """Open a transaction during which no other process can migrate."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            if names.schema and not inspect(connection).has_schema(names.schema):
                connection.execute(text(f'CREATE SCHEMA "{names.schema}"'))
        yield connection


def _said(error: DBAPIError, parsed: SqliteUrl | PostgresUrl) -> str:
    """Return what the driver says, and what to set."""
    if isinstance(parsed, SqliteUrl):
        return sqlite.explained(cast("sqlite3.Error", error.orig), parsed.file)
    from server_jobs.database.postgres_connection import explained

    said = explained(cast("Any", error.orig))
    if getattr(error.orig, "sqlstate", None) != _INVALID_COLUMN_REFERENCE:
        return said
    return (
        f"{said}: a publication sends only some columns of this table; drop the table from it, or"
        " let it send all of them"
    )


def _is_connection_error(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    # The driver counts this one among them: the server answers, and refuses what it is asked for.
    refused = getattr(error.orig, "sqlstate", None) == _NOT_IN_PREREQUISITE_STATE
    return type(error).__name__ == "OperationalError" and not refused
