"""A psycopg connection that doesn't wait for ever.

The kernel notices a peer that is gone. It doesn't notice one that takes what is sent and never
answers: a stopped server, a stuck pooler, a firewall or balancer that has forgotten the
connection. Only whoever waits for the answer can.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.raw_cursor import RawCursor

T = TypeVar("T")

# Of the time that the client waits: a server that lives is to say itself that it took too long.
_STATEMENTS_SHARE = 0.8
# A batch has many statements, and a large one is long on its way.
_TRANSACTIONS_SHARE = 4

# What a cut connection leaves behind on the server would otherwise hold its locks for as long as
# the server believes in the connection: for hours. A batch may have been cut in the middle of a
# message, where the server counts neither a statement's time nor a transaction's idleness, only
# the transaction's as a whole (from version 17 on). Whatever a role, a database or the URL's
# options have set stays as it is.
_BOUND_THE_SESSION = """
SELECT CASE current_setting('statement_timeout')
         WHEN '0' THEN set_config('statement_timeout', $1, false) END,
       CASE current_setting('idle_in_transaction_session_timeout')
         WHEN '0' THEN set_config('idle_in_transaction_session_timeout', $1, false) END,
       CASE current_setting('transaction_timeout', true)
         WHEN '0' THEN set_config('transaction_timeout', $2, false) END
"""


class PostgresConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is given up once the server was silent for ``answer_timeout`` seconds.

    The statement may then have run, or not, as with every connection that breaks. 0 waits for
    ever.
    """

    answer_timeout: float = 0.0

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Consume a generator of psycopg's; all that talks to the server comes through here."""
        if not self.answer_timeout:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_while_answered(gen, self.answer_timeout), *args, **kwargs)
        except _Silence:
            # At once: whoever cleans up after the error must not wait for the same server again.
            self.close()
            raise psycopg.OperationalError(
                f"the server didn't answer for {self.answer_timeout:g} seconds"
            ) from None


def open_connection(
    conninfo: str, *, answer_timeout: float, pgbouncer: bool = False
) -> PostgresConnection:
    """Connect. Raises psycopg.Error."""
    connection = PostgresConnection.connect(
        conninfo,
        autocommit=True,
        prepare_threshold=None if pgbouncer else 5,
        cursor_factory=RawCursor,
    )
    connection.answer_timeout = answer_timeout
    # Behind pgbouncer the session is everybody's, and so would these settings be.
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
    """The same generator, until the socket was ready for nothing during so many seconds."""
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
