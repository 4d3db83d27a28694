"""Which database a Worker works on: its environment says so, not its code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from server_jobs.database import DATABASE_URL_VARIABLE, Database, table_names
from server_jobs.errors import ConfigurationError
from server_jobs_cloudflare.config import variable

DatabaseChoice: TypeAlias = "str | Callable[[Any], Database]"
"""The name of a D1 binding, or what makes a database of the Worker's environment."""

URL_VARIABLES = (DATABASE_URL_VARIABLE, "TURSO_DATABASE_URL")
TOKEN_VARIABLES = ("SERVER_JOBS_DATABASE_TOKEN", "TURSO_AUTH_TOKEN")


def open_database(choice: DatabaseChoice, env: Any) -> Database:
    """The database of this invocation. A URL in the environment goes before the D1 binding.

    Raises ConfigurationError.
    """
    if callable(choice):
        return choice(env)
    url = _first(env, URL_VARIABLES)
    if url is not None:
        return _over_fetch(url, _first(env, TOKEN_VARIABLES))
    binding = getattr(env, choice, None)
    if binding is None:
        raise ConfigurationError(
            f"the Worker has no database: bind a D1 database as {choice!r} (d1_databases in"
            f" wrangler.jsonc), or set {' or '.join(URL_VARIABLES)} to libsql://…"
        )
    from server_jobs_cloudflare.d1 import D1Database

    return D1Database(
        binding, tables=table_names("", variable(env, "SERVER_JOBS_TABLE_PREFIX") or "")
    )


def _over_fetch(url: str, token: str | None) -> Database:
    from server_jobs.database.hrana import HranaDatabase

    from server_jobs_cloudflare.fetch_transport import FetchTransport

    return HranaDatabase(url, token=token, transport=FetchTransport())


def _first(env: Any, names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := variable(env, name))), None)
