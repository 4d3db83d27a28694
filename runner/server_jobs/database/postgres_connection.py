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

T = TypeVar("T")

# As a share of the client's wait. Less than 1, so that a live server itself reports the timeout.
_STATEMENTS_SHARE = 0.8
# More than 1, since a batch has many statements, and sending a large one takes time.
_TRANSACTIONS_SHARE = 4

# Without these limits, the session of a cut connection would hold its locks until the server
# notices, which takes hours. A batch may be cut in the middle of a message. The server then counts
# neither the statement's time nor the transaction as idle, but only the transaction's whole time
# (from version 17 on). Limits that a role, a database or the URL's options set stay as they are.
_BOUND_THE_SESSION = """
SELECT CASE current_setting('statement_timeout')
         WHEN '0' THEN set_config('statement_timeout', $1, false) END,
       CASE current_setting('idle_in_transaction_session_timeout')
         WHEN '0' THEN set_config('idle_in_transaction_session_timeout', $1, false) END,
       CASE current_setting('transaction_timeout', true)
         WHEN '0' THEN set_config('transaction_timeout', $2, false) END
"""


class PostgresConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that closes once the server has been silent for ``answer_timeout`` seconds.

    The statement may then have run, or not, as with every connection that breaks. An
    ``answer_timeout`` of 0 waits for ever.
    """

    answer_timeout: float = 0.0

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
                f"the server didn't answer for {self.answer_timeout:g} seconds"
            ) from None


def open_connection(
    conninfo: str, *, answer_timeout: float, pgbouncer: bool = False
) -> PostgresConnection:
    """Connect, and bound the session's times by ``answer_timeout`` seconds. Raises psycopg.Error.

    Behind pgbouncer, or with an ``answer_timeout`` of 0, the session's times stay unbounded.
    """
    connection = PostgresConnection.connect(
        conninfo,
        autocommit=True,
        prepare_threshold=None if pgbouncer else 5,
        cursor_factory=RawCursor,
    )
    connection.answer_timeout = answer_timeout
    # Behind pgbouncer other clients share the session, and would share these settings.
    if answer_timeout and not pgbouncer:
        shares = _STATEMENTS_SHARE, _TRANSACTIONS_SHARE
        limits = [str(int(answer_timeout * share * 1000)) for share in shares]
        try:
            connection.execute(_BOUND_THE_SESSION, limits)
        except BaseException:
            connection.close()
            raise
    return connection


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
