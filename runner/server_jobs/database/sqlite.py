"""Reaches SQLite, in files and in memory, by the standard library's driver."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Insert
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from server_jobs.database.base import Capabilities
from server_jobs.database.compiled import naming_by_bytes, text_of
from server_jobs.database.remote_errors import SIGNS_OF_A_VALUE
from server_jobs.database.threaded import ThreadedDatabase
from server_jobs.database.threads import WatchingThread
from server_jobs.errors import (
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    DataRefusedError,
    InvalidDatabaseUrlError,
    MigrationRequiredError,
)
from server_jobs.sql.statement import Row, Statement
from server_jobs.sql.tables import Tables

POLL_SECONDS = 0.02
"""How often the file is checked for other connections' commits. A check takes microseconds."""

_OLDEST = (3, 38)  # UPDATE … FROM, RETURNING and JSON in every build

_TRY_AGAIN = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}


class SqliteDatabase(ThreadedDatabase[sqlite3.Connection]):
    """Uses one connection on one thread. SQLite has one writer, so a second one would only wait.

    A ``path`` of None makes a database in memory, which only this object sees. ``synchronous`` is
    SQLite's setting: with ``full``, commits survive a power cut; with ``normal``, the last ones may
    be lost in one, but writes are several times faster on slow disks. ``busy_timeout`` is how long
    a write waits for another process's, in seconds. Raises DatabaseError if Python's SQLite is too
    old, and InvalidDatabaseUrlError.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        tables: Tables,
        capabilities: Capabilities | None = None,
        synchronous: str = "full",
        busy_timeout: float = 10.0,
    ) -> None:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise DatabaseError(
                f"SQLite {sqlite3.sqlite_version} is too old: server-jobs needs "
                f"{'.'.join(map(str, _OLDEST))} or newer (a newer Python brings one)"
            )
        if synchronous.lower() not in {"off", "normal", "full", "extra"}:
            raise InvalidDatabaseUrlError(
                f"synchronous={synchronous!r} isn't off, normal, full or extra"
            )
        self._path = path
        self._synchronous = synchronous.lower()
        self._busy_timeout = busy_timeout
        self._watcher: _FileWatcher | None = None
        self._watchers: list[_FileWatcher] = []
        self._stopped: list[_FileWatcher] = []
        super().__init__(
            dialect=SQLiteDialect(paramstyle="qmark"),
            tables=tables,
            capabilities=capabilities or Capabilities(serves_remote_workers=False),
            threads=1,
        )
        self._use = self._unforked = threading.RLock()

    def __repr__(self) -> str:
        return f"SqliteDatabase({self._path or ':memory:'})"

    async def wait_for_change(self, timeout: float) -> None:
        if self._path is None:
            # Only this process can write here, and sees its own commits after this pause.
            await asyncio.sleep(min(timeout, POLL_SECONDS))
            return
        if self._watcher is None:
            self._watcher = _FileWatcher(self._path)
            self._watchers.append(self._watcher)
        await self._watcher.wait(timeout)

    async def close(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            await watcher.close()
            self._watchers.remove(watcher)
        await super().close()

    def _connect(self) -> sqlite3.Connection:
        connection = _open(self._path, self._busy_timeout)
        if self._path is not None:
            try:
                # This reads the file for the first time; it may not be a database at all.
                connection.execute("PRAGMA journal_mode = wal").fetchall()
            except sqlite3.Error as error:
                # While another process writes, the mode can't be changed; any mode works.
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                    connection.close()
                    raise _translated(error, self._path) from error
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        return connection

    def _disconnect(self, connection: sqlite3.Connection) -> None:
        connection.close()

    def _broken(self, connection: sqlite3.Connection, error: Exception) -> bool:
        # A disk that came back, or a replaced file, needs a new handle. A database in memory
        # would be lost with its connection.
        return self._path is not None and isinstance(error, DatabaseUnavailableError)

    def _run(
        self, connection: sqlite3.Connection, statements: Sequence[Statement]
    ) -> list[list[Row]]:
        try:
            if len(statements) > 1:
                return self._transaction(connection, statements)
            (statement,) = statements
            if statement.unless_empty is not None:
                guard = Statement(statement.unless_empty, statement.values)
                if not self._one(connection, guard):
                    return [[]]
            return [self._one(connection, statement)]
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.rollback()
            raise _translated(error, self._path) from error
        except (OverflowError, UnicodeError) as error:
            # SQLite has no type for the value. Nothing was sent, and a batch was rolled back.
            raise DataRefusedError(f"SQLite ({self._path or ':memory:'}): {error}") from error

    def _transaction(
        self, connection: sqlite3.Connection, statements: Sequence[Statement]
    ) -> list[list[Row]]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            rows = [self._one(connection, statement) for statement in statements]
        except BaseException:
            connection.rollback()
            raise
        connection.execute("COMMIT")
        return rows

    def _one(self, connection: sqlite3.Connection, statement: Statement) -> list[Row]:
        compiled, parameters = self._compiler.bind(statement)
        try:
            cursor = connection.execute(compiled.sql, parameters)
        except UnicodeEncodeError:
            if isinstance(statement.shape, Insert):
                raise  # what isn't UTF-8 is never written anew
            # It names a row by text that another program wrote (see RawText).
            cursor = connection.execute(*naming_by_bytes(compiled.sql, parameters))
        return compiled.decode(cursor.fetchall())

    def _before_fork(self) -> None:
        """Close the file between two transactions; parent and child open it again.

        Otherwise the child would inherit SQLite's record of locks that only its parent holds. The
        parent, believing that it closes the file last, would remove the log to which the child
        commits.
        """
        self._unforked.acquire()
        if self._path is not None:
            for pool in self._pools:
                self._disconnect_all(pool)
        for watcher in self._watchers:
            watcher.before_fork()
            self._stopped.append(watcher)

    def _after_fork(self) -> None:
        while self._stopped:
            self._stopped.pop().after_fork()
        self._unforked.release()

    def _after_fork_in_child(self) -> None:
        self._watcher, self._watchers, self._stopped = None, [], []
        self._use = self._unforked = threading.RLock()
        super()._after_fork_in_child()


class _FileWatcher(WatchingThread):
    """Notices other connections' commits by ``PRAGMA data_version``.

    It has its own thread and connection.
    """

    def __init__(self, path: Path) -> None:
        super().__init__("sqlite-watcher")
        self._path = path
        self._unforked = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._seen: int | None = None

    async def close(self) -> None:
        await super().close()
        with self._unforked:
            self._disconnect()

    def before_fork(self) -> None:
        self._unforked.acquire()
        self._disconnect()

    def after_fork(self) -> None:
        self._unforked.release()

    def _wait(self, timeout: float) -> None:
        waited = 0.0
        while not self._stop.is_set():
            with self._unforked:
                if self._has_changed():
                    return
            if waited >= timeout:
                return
            self._stop.wait(POLL_SECONDS)
            waited += POLL_SECONDS

    def _has_changed(self) -> bool:
        """Tell whether the file's version has changed; False if it can't be read just now."""
        try:
            if self._connection is None:
                self._connection = _open(self._path, busy_timeout=0)
            version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except (sqlite3.Error, DatabaseError):
            self._disconnect()
            return False
        changed, self._seen = version != self._seen, version
        return changed

    def _disconnect(self) -> None:
        # Versions can be compared only on the connection that read them.
        connection, self._connection, self._seen = self._connection, None, None
        if connection is not None:
            connection.close()


def _open(path: Path | None, busy_timeout: float) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            ":memory:" if path is None else path,
            timeout=busy_timeout,
            isolation_level=None,  # this driver begins transactions itself
            check_same_thread=False,  # one thread owns it, but another one closes it
            cached_statements=256,
        )
    except sqlite3.Error as error:
        raise _translated(error, path) from error
    # By default, text that isn't UTF-8 is an error, even after its statement was committed.
    connection.text_factory = text_of
    return connection


def _translated(error: sqlite3.Error, path: Path | None) -> Exception:
    where = f"SQLite ({path or ':memory:'})"
    # Extended codes carry the primary one in their low byte.
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF == sqlite3.SQLITE_CONSTRAINT:
        return ConstraintViolatedError(f"{where}: {error}")
    if code is not None and code & 0xFF in _TRY_AGAIN:
        hint = ""
        if code & 0xFF == sqlite3.SQLITE_CANTOPEN and path is not None:
            hint = f"; is {path.parent} a folder that this user may write to?"
        return DatabaseUnavailableError(f"{where}: {error}{hint}")
    text = str(error)
    about_values = isinstance(error, sqlite3.DataError) or code == sqlite3.SQLITE_MISMATCH
    if about_values or any(sign in text for sign in SIGNS_OF_A_VALUE):
        return DataRefusedError(f"{where}: {error}")
    if "no such table" in text or "no such column" in text or "has no column" in text:
        return MigrationRequiredError(
            f"{where}: {error}. The tables are missing or too old: run `server-jobs migrate`"
        )
    return DatabaseError(f"{where}: {error}")
