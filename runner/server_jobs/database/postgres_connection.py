"""Defines a psycopg connection that doesn't wait for ever.

The kernel notices a peer that is gone. It doesn't notice one that accepts data and never answers:
a stopped server, a stuck pooler, a firewall or balancer that has forgotten the connection. Only
the client that waits for the answer can notice that.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.raw_cursor import RawCursor

from server_jobs.database.postgres_url import PostgresUrl
from server_jobs.masks import mask_passwords

T = TypeVar("T")

# As a share of the client's wait. Less than 1, so that a live server itself reports the timeout.
_STATEMENTS_SHARE = 0.8
# More than 1, since a batch has many statements, and sending a large one takes time.
_TRANSACTIONS_SHARE = 4

# What a role or a database sets for other programs would change what our statements mean.
# pgbouncer remembers the first three for each of its clients, whichever session serves it.
_SHARED = {"TimeZone": "UTC", "DateStyle": "ISO", "standard_conforming_strings": "on"}
_PINNED = _SHARED | {
    "array_nulls": "on",
    "default_transaction_isolation": "read committed",
    "extra_float_digits": "1",
    "IntervalStyle": "postgres",
}

_PIN = """
SELECT set_config(name, value, false), current_setting('default_transaction_isolation'),
    pg_backend_pid()
FROM unnest(CAST($1 AS text[]), CAST($2 AS text[])) AS pinned (name, value)
"""
_PIN_THE_PATH = """
UNION ALL
SELECT set_config('search_path', concat_ws(', ', quote_ident($3), nullif(current, '')), false),
    '', 0
FROM current_setting('search_path') AS current
"""


class PostgresConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that closes once the server has been silent for ``answer_timeout`` seconds.

    The statement may then have run, or not, as with every connection that breaks. An
    ``answer_timeout`` of 0 waits for ever.
    """

    answer_timeout: float = 0.0
    isolated: bool = True
    """Whether a statement outside of a transaction runs at the level READ COMMITTED."""

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Run one of psycopg's generators; everything that talks to the server calls this.

        Raises psycopg.OperationalError if the server is silent for too long.
        """
        if not self.answer_timeout:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_while_answered(gen, self.answer_timeout), *args, **kwargs)
        except _Silence:
            # Closed at once, so that cleaning up after the error doesn't wait for the server again.
            self.close()
            raise psycopg.OperationalError(
                f"the server didn't answer for {self.answer_timeout:g} seconds (answer_timeout)"
            ) from None


def open_connection(
    url: PostgresUrl, *, answer_timeout: float, pgbouncer: bool = False, schema: str | None = None
) -> PostgresConnection:
    """Connect, and make the session independent of what others have set. Raises psycopg.Error.

    The session's times are bounded by ``answer_timeout`` seconds, which 0 leaves unbounded.
    ``schema`` comes first in its search path. Behind pgbouncer other clients share the session, and
    would share such settings: only those are made that pgbouncer keeps apart.
    """
    connection = PostgresConnection.connect(
        autocommit=True,
        prepare_threshold=None if pgbouncer else 5,
        cursor_factory=RawCursor,
        **url.to_connect(),  # type: ignore[arg-type]
    )
    connection.answer_timeout = answer_timeout
    settings = dict(_SHARED if pgbouncer else _PINNED | _times(connection, answer_timeout))
    parameters: list[object] = [list(settings), list(settings.values())]
    statement = _PIN
    if schema is not None and not pgbouncer:
        statement += _PIN_THE_PATH
        parameters.append(schema)
    try:
        ((_, isolation, served_by), *_) = connection.execute(statement, parameters).fetchall()
        if served_by != connection.info.backend_pid:
            _settle_behind_a_pooler(connection)
    except BaseException:
        connection.close()
        raise
    connection.isolated = not pgbouncer or isolation == "read committed"
    return connection


def _settle_behind_a_pooler(connection: PostgresConnection) -> None:
    """Prepare nothing: a name may mean another client's statement on the session that comes next.

    Raises psycopg.Error where the pooler takes no transactions.
    """
    connection.prepare_threshold = None
    connection.execute("BEGIN")
    connection.execute("COMMIT")


def open_for_sqlalchemy(url: PostgresUrl, schema: str | None) -> PostgresConnection:
    """Open the same connection as the driver's for SQLAlchemy's dialect, and bound no times."""
    pgbouncer = url.options.get("pgbouncer", "false") != "false"
    connection = open_connection(url, answer_timeout=0, pgbouncer=pgbouncer, schema=schema)
    connection.cursor_factory = psycopg.Cursor
    connection.autocommit = False
    return connection


def _times(connection: PostgresConnection, answer_timeout: float) -> dict[str, str]:
    """Return how long the session's statements and transactions may take.

    Without these limits, the session of a cut connection would hold its locks until the server
    notices, which takes hours. A batch may be cut in the middle of a message. The server then
    counts neither the statement's time nor the transaction as idle, but only the transaction's
    whole time (from version 17 on). Limits that the URL's options set stay as they are.
    """
    statements = str(int(answer_timeout * _STATEMENTS_SHARE * 1000))
    transactions = str(int(answer_timeout * _TRANSACTIONS_SHARE * 1000))
    times = {
        "statement_timeout": statements,
        "idle_in_transaction_session_timeout": statements,
        "lock_timeout": "0",
    }
    if connection.info.server_version >= 140_000:
        times["idle_session_timeout"] = "0"
    if connection.info.server_version >= 170_000:
        times["transaction_timeout"] = transactions
    by_url = connection.info.options
    return {name: value for name, value in times.items() if name not in by_url}


def explained(error: psycopg.Error, answer_timeout: float | None = None) -> str:
    """Return what the server says, without the row that it quotes, and what to set."""
    text = mask_passwords(error.diag.message_primary or str(error).strip())
    advice = _ADVICE.get(error.sqlstate or "")
    advice = next((says for words, says in _ADVICE_ON_WORDS.items() if words in text), advice)
    if advice is None:
        return text
    limit = "answer_timeout" if answer_timeout is None else f"answer_timeout={answer_timeout:g}"
    return f"{text}: {advice.format(limit=limit)}"


_TIMES = "the session's limits follow from {limit} in the database's URL"
_ADVICE = {
    "57014": _TIMES,  # query_canceled
    "25P03": _TIMES,  # idle_in_transaction_session_timeout
    "25P04": _TIMES,  # transaction_timeout
    "25006": (  # read_only_sql_transaction
        "the server is a standby, or this role or database has default_transaction_read_only = on;"
        " let the URL lead to the primary (target_session_attrs=read-write), or ALTER ROLE … SET"
        " default_transaction_read_only = off"
    ),
    "3F000": (  # invalid_schema_name
        "the search path of this role names no schema that exists; set SERVER_JOBS_SCHEMA, or ALTER"
        " ROLE … SET search_path = public"
    ),
    "22P05": (  # untranslatable_character
        "the database's encoding lacks a character; create a database with ENCODING 'UTF8'"
    ),
}


# pgbouncer's own errors have one code for all, libpq's have none.
_ADVICE_ON_WORDS = {
    "session is read-only": (
        "no server of the URL takes writes, since each is a standby or has"
        " default_transaction_read_only = on; let the URL lead to the primary"
    ),
    "unsupported startup parameter": (
        "this is pgbouncer, which passes no such settings on; take options=… out of the URL (and"
        " PGOPTIONS out of the environment), and set them by ALTER ROLE … SET …"
    ),
    "in statement pooling mode": (
        "transactions are needed; set pool_mode = transaction for this database in pgbouncer's"
        " configuration, and add pgbouncer=true to the URL, or set pool_mode = session"
    ),
}


class _Silence(Exception):
    """The server said nothing for too long."""


def _while_answered(gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """Pass the generator on. Raises _Silence once the socket wasn't ready for ``seconds``."""
    heard = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted  # nothing is ready every tenth of a second, psycopg's interval
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard >= seconds:
                raise _Silence
            wanted = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result
