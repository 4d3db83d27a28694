"""Reaches PostgreSQL by psycopg 3."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.dialects.postgresql.base import PGDialect

from server_jobs.database.base import Capabilities
from server_jobs.database.threaded import ThreadedDatabase
from server_jobs.database.threads import WatchingThread
from server_jobs.errors import (
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    DataRefusedError,
    MigrationRequiredError,
    MissingDependencyError,
)
from server_jobs.sql.statement import Row, Statement
from server_jobs.sql.tables import Tables

try:
    import psycopg
    from psycopg import errors as pg_errors
    from psycopg import sql
    from psycopg.abc import Loader
    from psycopg.adapt import Transformer
    from psycopg.pq import Format
    from psycopg.types.string import TextLoader

    from server_jobs.database.postgres_connection import (
        PostgresConnection,
        explained,
        open_connection,
    )
    from server_jobs.database.postgres_url import PostgresUrl
except ImportError as error:  # pragma: no cover - shown by tests/packaging in a bare environment
    raise MissingDependencyError(
        "PostgreSQL needs psycopg: pip install 'server-jobs[postgres]'"
    ) from error

_log = logging.getLogger("server_jobs.database")

_CONFLICTS = (pg_errors.SerializationFailure, pg_errors.DeadlockDetected)
_CONFLICT_TRIES = 5

_LISTEN_AGAIN_SECONDS = 1.0

# "cached plan must not change result type", and a prepared statement that a pooler's other session
# has, or hasn't. Nothing has run.
_STALE = (
    pg_errors.FeatureNotSupported,
    pg_errors.InvalidSqlStatementName,
    pg_errors.DuplicatePreparedStatement,
)
_STALE_TRIES = 2

ANSWER_TIMEOUT_SECONDS = 30.0
"""How long a server may be silent before its connection is given up."""


class PostgresDatabase(ThreadedDatabase[PostgresConnection]):
    """Uses a pool of at most ``pool_size`` connections, which are opened when they are needed.

    ``pgbouncer=True`` keeps no state on a session: nothing is prepared, and changes are polled for
    instead of listened to. A server that is silent for ``answer_timeout`` seconds counts as
    unavailable; 0 waits for ever.
    """

    def __init__(
        self,
        url: PostgresUrl,
        *,
        tables: Tables,
        capabilities: Capabilities | None = None,
        pool_size: int = 10,
        pgbouncer: bool = False,
        answer_timeout: float = ANSWER_TIMEOUT_SECONDS,
    ) -> None:
        self._url = url
        self._pgbouncer = pgbouncer
        self._answer_timeout = answer_timeout
        self._listener: _Listener | None = None
        super().__init__(
            dialect=PGDialect(paramstyle="numeric_dollar"),  # type: ignore[no-untyped-call]
            tables=tables,
            capabilities=capabilities or Capabilities(notifies=not pgbouncer),
            threads=pool_size,
        )

    def __repr__(self) -> str:
        return f"PostgresDatabase({self._url.shown})"

    async def wait_for_change(self, timeout: float) -> None:
        if not self.capabilities.notifies:
            await asyncio.sleep(timeout)
            return
        if self._listener is None:
            self._listener = _Listener(self._open, self.tables.channel, self._answer_timeout)
        await self._listener.wait(timeout)

    async def close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()
        await super().close()

    def _open(self) -> PostgresConnection:
        try:
            return open_connection(
                self._url,
                answer_timeout=self._answer_timeout,
                pgbouncer=self._pgbouncer,
                schema=self.tables.schema,
            )
        except psycopg.Error as error:
            raise DatabaseUnavailableError(
                f"can't connect to {self._url.shown}: {explained(error)}"
            ) from error

    def _connect(self) -> PostgresConnection:
        connection = self._open()
        # JSON is decoded later, job by job, so that a bad document spoils only its own job.
        connection.adapters.register_loader("jsonb", TextLoader)
        return connection

    def _disconnect(self, connection: PostgresConnection) -> None:
        connection.close()

    def _broken(self, connection: PostgresConnection, error: Exception) -> bool:
        # A read-only server was demoted: the next connection may lead to its successor.
        demoted = isinstance(error.__cause__, pg_errors.ReadOnlySqlTransaction)
        return demoted or connection.broken or connection.closed

    def _run(
        self, connection: PostgresConnection, statements: Sequence[Statement]
    ) -> list[list[Row]]:
        alone = len(statements) == 1 and connection.isolated
        run = self._one if alone else self._transaction
        for tries in range(1, _CONFLICT_TRIES + 1):
            try:
                return run(connection, statements)
            except _CONFLICTS as error:
                # The server has rolled the whole transaction back, so it is safe to run it again.
                if tries == _CONFLICT_TRIES:
                    raise DatabaseUnavailableError(f"{self._url.shown}: {error}") from error
                time.sleep(0.005 * tries)
            except _STALE as error:
                # It was prepared before the tables changed, or in another pooler's session.
                if tries == _STALE_TRIES:
                    raise self._translated(error) from error
                _prepare_anew(connection, error)
            except psycopg.Error as error:
                raise self._translated(error) from error
            except UnicodeError as error:
                raise DataRefusedError(f"{self._url.shown}: {error}") from error
        raise AssertionError("unreachable")

    def _one(
        self, connection: PostgresConnection, statements: Sequence[Statement]
    ) -> list[list[Row]]:
        compiled, parameters = self._compiler.bind(statements[0])
        cursor = connection.execute(compiled.sql, parameters)
        return [compiled.decode(_fetched(cursor))]

    def _transaction(
        self, connection: PostgresConnection, statements: Sequence[Statement]
    ) -> list[list[Row]]:
        """Send BEGIN, the statements and COMMIT in one round trip."""
        bound = [self._compiler.bind(statement) for statement in statements]
        try:
            with connection.pipeline():
                connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                cursors = [
                    connection.execute(compiled.sql, parameters) for compiled, parameters in bound
                ]
                connection.execute("COMMIT")
        except BaseException:
            # BEGIN may have been sent, whatever the error is (a value without UTF-8, for instance).
            if not connection.closed:
                connection.rollback()
            raise
        return [
            compiled.decode(_fetched(cursor))
            for (compiled, _), cursor in zip(bound, cursors, strict=True)
        ]

    def _translated(self, error: psycopg.Error) -> Exception:
        # Only the primary message is shown, since the detail quotes the row and its params.
        text = f"{self._url.shown}: {explained(error, self._answer_timeout)}"
        match error:
            case psycopg.IntegrityError():
                return ConstraintViolatedError(text)
            case pg_errors.UndefinedTable() | pg_errors.UndefinedColumn():
                return MigrationRequiredError(
                    f"{text}\nThe tables are missing or too old: run `server-jobs migrate`, or set"
                    " SERVER_JOBS_SCHEMA if they are in a schema outside of this role's search path"
                )
            case psycopg.DataError():
                return DataRefusedError(text)
            case _ if _is_about_values(error.sqlstate or ""):
                return DataRefusedError(text)
            case (
                psycopg.OperationalError()
                | psycopg.InterfaceError()
                | pg_errors.ReadOnlySqlTransaction()
            ):
                return DatabaseUnavailableError(text)
            case _:
                return DatabaseError(text)

    def _after_fork_in_child(self) -> None:
        self._listener = None
        super()._after_fork_in_child()


class _Listener(WatchingThread):
    """Listens for notifications on its own connection and thread; without one, it polls."""

    def __init__(
        self, open_connection: Callable[[], PostgresConnection], channel: str, answer_timeout: float
    ) -> None:
        self._open = open_connection
        self._channel = channel
        self._answer_timeout = answer_timeout
        super().__init__("postgres-listener")
        self._heard = 0.0
        self._again_at = 0.0
        self._refused = False
        self._connection: PostgresConnection | None = None

    async def close(self) -> None:
        await super().close()
        if self._connection is not None:
            self._connection.close()

    def _look(self, seconds: float) -> bool:
        try:
            if self._connection is None:
                if time.monotonic() < self._again_at:
                    self._stop.wait(seconds)
                    return False
                self._connection = self._open()
                self._listen(self._connection)
                self._heard = time.monotonic()
                return True  # those who wait look for changes that came before LISTEN
            if list(self._connection.notifies(timeout=seconds, stop_after=1)):
                self._heard = time.monotonic()
                return True
            self._ask(self._connection)
        except (psycopg.Error, DatabaseError):
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
            self._again_at = time.monotonic() + _LISTEN_AGAIN_SECONDS
        return False

    def _listen(self, connection: PostgresConnection) -> None:
        listen = sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)).as_string(None)
        try:
            connection.execute(listen)
        except psycopg.Error as error:
            if not connection.broken and not self._refused:
                self._refused = True
                _log.warning(
                    "the server refuses LISTEN (%s): changes are polled for until it takes it",
                    explained(error),
                )
            raise
        self._refused = False

    def _ask(self, connection: PostgresConnection) -> None:
        """Ask the server now and then: a connection that it no longer serves is silent too."""
        if self._answer_timeout and time.monotonic() - self._heard >= self._answer_timeout:
            connection.execute("SELECT 1")
            self._heard = time.monotonic()


def _prepare_anew(connection: PostgresConnection, error: psycopg.Error) -> None:
    """Forget the session's prepared statements, or prepare no more where it isn't our own."""
    if isinstance(error, pg_errors.FeatureNotSupported):
        connection.execute("DEALLOCATE ALL")  # psycopg forgets them, too
    else:
        connection.prepare_threshold = None


def _fetched(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Sequence[Sequence[Any]]:
    """Fetch a cursor's rows, with the text of the value where psycopg has no Python value for it.

    Those are moments before the year 1 or after 9999, infinite ones among them, and text that isn't
    UTF-8. The statement has run by now, so that nobody could ask for its other rows again.
    """
    if cursor.description is None:
        return []
    try:
        return cursor.fetchall()
    except (psycopg.DataError, UnicodeError):
        result = cursor.pgresult
        if result is None:
            raise
    transformer = Transformer(cursor)
    loaders = [
        transformer.get_loader(result.ftype(column), Format(result.fformat(column)))
        for column in range(result.nfields)
    ]
    return [
        [_loaded(loader, result.get_value(row, column)) for column, loader in enumerate(loaders)]
        for row in range(result.ntuples)
    ]


def _loaded(loader: Loader, raw: bytes | None) -> Any:
    if raw is None:
        return None
    try:
        return loader.load(raw)
    except (psycopg.DataError, UnicodeError):
        return raw.decode("utf-8", "backslashreplace")


def _is_about_values(sqlstate: str) -> bool:
    """Tell whether the error is about the values, so that it is no use to try them again."""
    # Cardinality, WITH CHECK, a limit of the program (such as an index entry that is too long),
    # and RAISE in a trigger, by which users refuse rows.
    return sqlstate[:2] in {"21", "44", "54"} or sqlstate == "P0001"
