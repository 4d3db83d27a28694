"""This folder holds the drivers of databases. ``connect(url)`` chooses one by its URL.

A driver runs statements and knows nothing of jobs. ``base`` defines what each offers.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from server_jobs.database.base import Capabilities, Database
from server_jobs.database.urls import DatabaseUrl, LibsqlUrl, SqliteUrl, backend_of, parse_url
from server_jobs.errors import InvalidDatabaseUrlError
from server_jobs.sql.tables import Tables, tables

if TYPE_CHECKING:
    from server_jobs.database.postgres_url import PostgresUrl

DATABASE_URL_VARIABLE = "SERVER_JOBS_DATABASE_URL"
DEFAULT_DATABASE_URL = "sqlite:///server-jobs.db"
URL_VARIABLES = (DATABASE_URL_VARIABLE, "TURSO_DATABASE_URL")
"""The environment variables that may hold the database's URL. The first non-empty one counts."""
TOKEN_VARIABLES = ("SERVER_JOBS_DATABASE_TOKEN", "TURSO_AUTH_TOKEN")
"""The environment variables that may hold the token of a libSQL database whose URL has none.

The first non-empty one counts.
"""

_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
# With 30 characters, the longest name of a constraint stays within PostgreSQL's 63. Capital letters
# would make names that always need quotes.
_PREFIX = re.compile(r"[a-z_][a-z0-9_]{0,29}")
_LARGEST_PAYLOAD = 64 * 1024 * 1024


def connect(
    url: str = DEFAULT_DATABASE_URL,
    *,
    schema: str | None = None,
    table_prefix: str | None = None,
    max_payload_bytes: int | None = None,
) -> Database:
    """Make the database object for ``url``. It opens its first connection when it is first used.

    - SQLite: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``sqlite://`` (in memory),
      with ``?synchronous=normal`` and ``?busy_timeout=SECONDS``.
    - PostgreSQL: ``postgresql://user:password@host/name`` as libpq reads it, or libpq's
      ``host=… dbname=…``, with libpq's parameters, ``pool_size=10``, ``pgbouncer=true``,
      ``notify=false`` and ``answer_timeout=SECONDS``.
    - libSQL and Turso: ``libsql://host``, ``https://host`` or ``http://host``. The token comes from
      ``?authToken=``, ``SERVER_JOBS_DATABASE_TOKEN`` or ``TURSO_AUTH_TOKEN``.

    ``schema`` is a PostgreSQL schema, ``table_prefix`` begins the tables' names, and
    ``max_payload_bytes`` limits one job's params, and its result (default 1 MiB). Their defaults
    come from ``SERVER_JOBS_SCHEMA``, ``SERVER_JOBS_TABLE_PREFIX`` and
    ``SERVER_JOBS_MAX_PAYLOAD_BYTES``.

    Raises :class:`~server_jobs.errors.InvalidDatabaseUrlError`, and
    :class:`~server_jobs.errors.MissingDependencyError` if the driver's extra isn't installed.
    """
    parsed, names = locate(url, schema=schema, table_prefix=table_prefix)
    limit = max_payload_bytes
    if limit is None:
        limit = _payload_limit(os.environ.get("SERVER_JOBS_MAX_PAYLOAD_BYTES"))
    if isinstance(parsed, SqliteUrl):
        return _sqlite(parsed, names, limit)
    if isinstance(parsed, LibsqlUrl):
        return _libsql(parsed, names, limit)
    return _postgres(parsed, names, limit)


def url_from_environment() -> str | None:
    """Read the database's URL from the environment → None if no variable names one."""
    return _first_variable(URL_VARIABLES)


def locate(
    url: str, *, schema: str | None = None, table_prefix: str | None = None
) -> tuple[DatabaseUrl, Tables]:
    """Find out where the tables are → the parsed URL, the tables. Raises InvalidDatabaseUrlError.

    ``schema`` and ``table_prefix`` default to the environment's.
    """
    parsed = parse_url(url)
    names = table_names(schema, table_prefix)
    if names.schema is not None and isinstance(parsed, SqliteUrl | LibsqlUrl):
        raise InvalidDatabaseUrlError("SQLite and libSQL have no schemas; use table_prefix")
    return parsed, names


def table_names(schema: str | None = None, table_prefix: str | None = None) -> Tables:
    """Return the tables of this schema and prefix. Raises InvalidDatabaseUrlError.

    What isn't given comes from ``SERVER_JOBS_SCHEMA`` and ``SERVER_JOBS_TABLE_PREFIX``.
    """
    if schema is None:
        schema = os.environ.get("SERVER_JOBS_SCHEMA", "")
    if table_prefix is None:
        table_prefix = os.environ.get("SERVER_JOBS_TABLE_PREFIX", "")
    if schema and not _SCHEMA.fullmatch(schema):
        raise InvalidDatabaseUrlError(
            f"schema={schema!r} can't be used: up to 63 letters, digits and underscores"
        )
    if table_prefix and not _PREFIX.fullmatch(table_prefix):
        raise InvalidDatabaseUrlError(
            f"table_prefix={table_prefix!r} can't be used: up to 30 lower-case letters, digits and"
            " underscores"
        )
    return tables(schema or None, table_prefix)


def _sqlite(url: SqliteUrl, names: Tables, max_payload_bytes: int | None) -> Database:
    from server_jobs.database.sqlite import SqliteDatabase

    capabilities = Capabilities(serves_remote_workers=False)
    return SqliteDatabase(
        None if url.file is None else url.file.absolute(),
        tables=names,
        capabilities=_limited(capabilities, max_payload_bytes),
        synchronous=url.options.get("synchronous", "full"),
        busy_timeout=_number("busy_timeout", url.options.get("busy_timeout", "10")),
    )


def _postgres(url: PostgresUrl, names: Tables, max_payload_bytes: int | None) -> Database:
    from server_jobs.database.postgres import ANSWER_TIMEOUT_SECONDS, PostgresDatabase

    ours = url.options
    pgbouncer = _flag("pgbouncer", ours.get("pgbouncer", "false"))
    pool_size = int(_number("pool_size", ours.get("pool_size", "10")))
    if pool_size < 1:
        raise InvalidDatabaseUrlError(f"pool_size={pool_size}: at least one connection is needed")
    answer_timeout = ANSWER_TIMEOUT_SECONDS
    if "answer_timeout" in ours:
        answer_timeout = _number("answer_timeout", ours["answer_timeout"])
        if 0 < answer_timeout < 1:
            raise InvalidDatabaseUrlError(
                f"answer_timeout={answer_timeout:g}: at least 1 second, or 0 to wait for ever"
            )
    return PostgresDatabase(
        url,
        tables=names,
        capabilities=_limited(
            Capabilities(
                notifies=not pgbouncer, announces=_flag("notify", ours.get("notify", "true"))
            ),
            max_payload_bytes,
        ),
        pool_size=pool_size,
        pgbouncer=pgbouncer,
        answer_timeout=answer_timeout,
    )


def _libsql(url: LibsqlUrl, names: Tables, max_payload_bytes: int | None) -> Database:
    from server_jobs.database.hrana import ANSWER_TIMEOUT_SECONDS, CAPABILITIES, HranaDatabase
    from server_jobs.database.httpx_transport import HttpxTransport

    timeout = str(url.url.query.get("answer_timeout", ANSWER_TIMEOUT_SECONDS))
    return HranaDatabase(
        url.url,
        transport=HttpxTransport(answer_timeout=_number("answer_timeout", timeout)),
        tables=names,
        token=_first_variable(TOKEN_VARIABLES),
        capabilities=_limited(CAPABILITIES, max_payload_bytes),
    )


def _first_variable(names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := os.environ.get(name, "").strip())), None)


def _limited(capabilities: Capabilities, max_payload_bytes: int | None) -> Capabilities:
    if max_payload_bytes is None:
        return capabilities
    if not 1 <= max_payload_bytes <= _LARGEST_PAYLOAD:
        raise InvalidDatabaseUrlError(
            f"max_payload_bytes={max_payload_bytes} isn't between 1 and {_LARGEST_PAYLOAD}"
        )
    return replace(capabilities, max_payload_bytes=max_payload_bytes)


def _payload_limit(value: str | None) -> int | None:
    return int(_number("SERVER_JOBS_MAX_PAYLOAD_BYTES", value)) if value else None


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise InvalidDatabaseUrlError(f"{name}={value!r} isn't a number") from None
    if not 0 <= number < float("inf"):
        raise InvalidDatabaseUrlError(f"{name}={value} is out of range")
    return number


def _flag(name: str, value: str) -> bool:
    if value.lower() in {"1", "true", "yes", "on"}:
        return True
    if value.lower() in {"0", "false", "no", "off"}:
        return False
    raise InvalidDatabaseUrlError(f"{name}={value!r} is neither true nor false")


__all__ = [
    "DATABASE_URL_VARIABLE",
    "DEFAULT_DATABASE_URL",
    "TOKEN_VARIABLES",
    "URL_VARIABLES",
    "Capabilities",
    "Database",
    "DatabaseUrl",
    "LibsqlUrl",
    "SqliteUrl",
    "backend_of",
    "connect",
    "locate",
    "parse_url",
    "table_names",
    "url_from_environment",
]
