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


def open_database(choice: DatabaseChoice, env: Any) -> Database:
    """The database of this invocation.

    Raises ConfigurationError.
    """
    if callable(choice):
        return choice(env)
    url = _first(env, URL_VARIABLES)
    if url is not None:
        raise ConfigurationError(
            f"a Worker works on D1 alone so far, not on libSQL: unset {' and '.join(URL_VARIABLES)}"
        )
    binding = getattr(env, choice, None)
    if binding is None:
        raise ConfigurationError(
            f"the Worker has no database: bind a D1 database as {choice!r} (d1_databases in"
            " wrangler.jsonc)"
        )
    from server_jobs_cloudflare.d1 import D1Database

    return D1Database(
        binding, tables=table_names("", variable(env, "SERVER_JOBS_TABLE_PREFIX") or "")
    )


def _first(env: Any, names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := variable(env, name))), None)
