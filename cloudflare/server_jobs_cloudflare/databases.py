"""Opens the database that a Worker's environment names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from server_jobs.database import (
    TOKEN_VARIABLES,
    URL_VARIABLES,
    Database,
    LibsqlUrl,
    backend_of,
    locate,
    table_names,
)
from server_jobs.errors import ConfigurationError
from server_jobs_cloudflare.config import variable

DatabaseChoice: TypeAlias = "str | Callable[[Any], Database]"
"""The name of a D1 binding, or a function from the Worker's environment to a database."""


def open_database(choice: DatabaseChoice, env: Any) -> Database:
    """Open the database of one invocation. A URL in the environment goes before the D1 binding.

    Raises ConfigurationError.
    """
    if callable(choice):
        return choice(env)
    url = _first(env, URL_VARIABLES)
    prefix = variable(env, "SERVER_JOBS_TABLE_PREFIX") or ""
    if url is not None:
        return _over_fetch(url, _first(env, TOKEN_VARIABLES), prefix)
    binding = getattr(env, choice, None)
    if binding is None:
        raise ConfigurationError(
            f"the Worker has no database: bind a D1 database as {choice!r} (d1_databases in"
            f" wrangler.jsonc), or set {' or '.join(URL_VARIABLES)} to libsql://…"
        )
    from server_jobs_cloudflare.d1 import D1Database

    return D1Database(binding, tables=table_names("", prefix))


def _over_fetch(url: str, token: str | None, prefix: str) -> Database:
    if (backend := backend_of(url)) != "libsql":
        raise ConfigurationError(
            f"a Worker reaches libSQL (libsql://…) and D1, but no {backend}://:"
            " it has neither files nor sockets"
        )
    parsed, names = locate(url, schema="", table_prefix=prefix)
    assert isinstance(parsed, LibsqlUrl)  # noqa: S101 - what locate() makes of such a URL
    from server_jobs.database.hrana import HranaDatabase
    from server_jobs_cloudflare.fetch_transport import FetchTransport

    return HranaDatabase(parsed.url, transport=FetchTransport(), tables=names, token=token)


def _first(env: Any, names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := variable(env, name))), None)
