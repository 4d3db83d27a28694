"""Reaches SQLite, in files and in memory, by the standard library's driver."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Insert
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from server_jobs.database.base import Capabilities, NothingRanError
from server_jobs.database.compiled import naming_by_bytes, text_of
from server_jobs.database.remote_errors import SIGNS_OF_A_VALUE
from server_jobs.database.threaded import ThreadedDatabase
from server_jobs.database.threads import WatchingThread
from server_jobs.errors import (
    ConfigurationError,
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    DataRefusedError,
    InvalidDatabaseUrlError,
    MigrationRequiredError,
)
from server_jobs.sql.statement import Row, Statement
from server_jobs.sql.tables import Tables

_log = logging.getLogger("server_jobs.database")

POLL_SECONDS = 0.02
"""How often the file is checked for other connections' commits. A check takes microseconds."""

_OLDEST = (3, 38)  # UPDATE … FROM, RETURNING and JSON in every build

_NO_SHARED_MEMORY = {
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMLOCK,
    sqlite3.SQLITE_IOERR_SHMMAP,
}

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_TRY_AGAIN = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
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
        self._opened: _Opened | None = None
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
        self._inherits = False

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
        if self._inherits:
            raise ConfigurationError(
                f"SQLite ({self._path}) was open when this process was forked by a program that"
                " didn't tell Python, such as uWSGI, and SQLite's locks don't survive that: set"
                " `lazy-apps = true` in uWSGI, or enqueue nothing while the app is imported"
            )
        if self._opened is not None:
            self._opened.check()
        if self._path is None:
            for pool in self._pools:
                if pool.connections:  # a second one would be another database
                    return pool.connections[0]
        connection = _open(self._path, busy_timeout=0)
        if self._path is not None:
            try:
                # This reads the file for the first time; it may not be a database at all.
                connection.execute("PRAGMA journal_mode = wal").fetchall()
                connection.execute("PRAGMA user_version").fetchall()  # opens the log
            except sqlite3.Error as error:
                # While another process writes, the mode can't be changed; any mode works.
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                    connection.close()
                    raise _translated(error, self._path) from error
            self._opened = _Opened(self._path)
        try:
            # Only now: otherwise a lock that is held for long would be waited for twice.
            connection.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout * 1000)}")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        except sqlite3.Error as error:
            connection.close()
            raise _translated(error, self._path) from error
        return connection

    def _leads_elsewhere(self, connection: sqlite3.Connection) -> bool:
        if self._opened is None:
            return False
        if self._opened.is_gone:
            _log.warning("SQLite (%s): the file was replaced or deleted while in use", self._path)
            return True
        if self._opened.has_lost_log:
            _log.warning(
                "SQLite (%s): a file beside it, -wal or -shm, was deleted while in use", self._path
            )
            if not self._saves_log(connection, self._opened):
                _log.error(
                    "SQLite (%s): another program has begun a log of its own: the last commits of"
                    " either may be lost; see whether `PRAGMA integrity_check` says ok",
                    self._path,
                )
            for watcher in self._watchers:
                watcher.disconnect()  # otherwise SQLite keeps what was deleted for this process
            return True
        return False

    def _saves_log(self, connection: sqlite3.Connection, opened: _Opened) -> bool:
        """Copy what stands in a deleted log into the file, unless another log has begun."""
        if not opened.has_only_log:
            return False
        try:
            ((busy, *_),) = connection.execute("PRAGMA wal_checkpoint(full)").fetchall()
        except sqlite3.Error:
            return False
        return not busy

    def _disconnect(self, connection: sqlite3.Connection) -> None:
        connection.close()

    def _broken(self, connection: sqlite3.Connection, error: Exception) -> bool:
        # A disk that came back, or a replaced file, needs a new handle. A database in memory
        # would be lost with its connection.
        cause = getattr(error.__cause__, "sqlite_errorcode", 0)
        return self._path is not None and (
            isinstance(error, DatabaseUnavailableError) or cause & 0xFF in _DAMAGED
        )

    def _run(
        self, connection: sqlite3.Connection, statements: Sequence[Statement]
    ) -> list[list[Row]]:
        rows = self._run_on_file(connection, statements)
        if self._opened is not None and self._opened.is_gone:
            raise DatabaseUnavailableError(
                f"SQLite ({self._path}): the file was replaced or deleted at this moment; what was"
                " written may be in the old one"
            )
        return rows

    def _run_on_file(
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
        # Before a fork that Python knows of, they are closed.
        self._inherits = self._path is not None and any(pool.connections for pool in self._pools)
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
        self._opened: _Opened | None = None
        self._seen: int | None = None

    async def close(self) -> None:
        await super().close()
        with self._unforked:
            self._disconnect()

    def disconnect(self) -> None:
        """Close the file; it is opened again when it is next looked at."""
        with self._unforked:
            self._disconnect()

    def before_fork(self) -> None:
        self._unforked.acquire()
        self._disconnect()

    def after_fork(self) -> None:
        self._unforked.release()

    def _look(self, seconds: float) -> bool:
        self._stop.wait(min(seconds, POLL_SECONDS))
        with self._unforked:
            return self._has_changed()

    def _has_changed(self) -> bool:
        """Tell whether the file's version has changed; False if it can't be read just now."""
        try:
            if self._opened is not None and self._opened.is_gone:
                self._disconnect()
                self._opened.check()
            if self._connection is None:
                if not self._path.exists():
                    return False  # to open it would make an empty one
                self._connection = _open(self._path, busy_timeout=0)
                self._connection.execute("PRAGMA user_version").fetchall()  # opens the log
                self._opened = _Opened(self._path)
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


class _Opened:
    """The file that was opened and the two beside it, whatever stands at their paths later."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._log_path, self._index_path = f"{path}-wal", f"{path}-shm"
        self._file = _number(self._path)
        self._log = _number(self._log_path)
        self._index = _number(self._index_path)

    @property
    def is_gone(self) -> bool:
        """Whether no file stands at the path any more, or another one does."""
        return _number(self._path) != self._file

    @property
    def has_lost_log(self) -> bool:
        """Whether another process that opens the file would have another log, or other locks."""
        # Without a log there are none: the file is in another mode.
        return self._log is not None and (
            _number(self._log_path) != self._log or _number(self._index_path) != self._index
        )

    @property
    def has_only_log(self) -> bool:
        """Whether what is in the log can't have been written beside it by somebody else."""
        return _number(self._log_path) in (None, self._log)

    def check(self) -> None:
        """Raise DatabaseUnavailableError unless what stands at the path now may be opened."""
        now = _number(self._path)
        if now is None:
            raise DatabaseUnavailableError(
                f"SQLite ({self._path}): the file is gone, it was deleted or moved while it was in"
                " use; put it back, or begin with empty tables by `server-jobs migrate`"
            )
        # SQLite would take the log for the new file's, and write the old one's pages into it.
        if now != self._file and self._log is not None and _number(self._log_path) == self._log:
            name = os.path.basename(self._path)
            raise DatabaseUnavailableError(
                f"SQLite ({self._path}): the file was replaced while it was in use, and the log"
                f" beside it still belongs to the one before; delete {name}-wal and {name}-shm"
            )


def _number(path: str) -> tuple[int, int] | None:
    """Return which file stands at the path: its device, its number there; None if none does."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


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


def explained(error: sqlite3.Error, path: Path | None) -> str:
    """Return what SQLite says, and what may be wrong with the path."""
    code = getattr(error, "sqlite_errorcode", 0)
    advice = None if path is None else _advice(code, os.path.abspath(path))
    return f"{error}; {advice}" if advice else str(error)


def _advice(code: int, path: str) -> str | None:
    folder = os.path.dirname(path)
    if code in _NO_SHARED_MEMORY:
        return (
            f"processes that use a file together share memory beside it, which the disk of {folder}"
            " may not offer: put the file on a disk of this machine"
        )
    match code & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return (
                "name the file of a SQLite database, or move this one away and make another by"
                " `server-jobs migrate`"
            )
        case sqlite3.SQLITE_CORRUPT:
            return (
                "the file is damaged: stop all workers, keep a copy, and restore a backup or save"
                " what can be read by `sqlite3 FILE .recover`"
            )
        case sqlite3.SQLITE_FULL:
            return f"make room on the disk of {folder}"
        case sqlite3.SQLITE_IOERR:
            return f"the disk of {folder} may be full, or broken"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY:
            return _what_is_refused(path, folder)
    return None


def _what_is_refused(path: str, folder: str) -> str:
    """Return which of the files, or that their folder, can't be written to."""
    if os.path.isdir(path):
        return "it is a folder, not a file"
    files = [f"{path}{suffix}" for suffix in ("", "-wal", "-shm")]
    refused = [
        file for file in files if os.path.exists(file) and not os.access(file, os.R_OK | os.W_OK)
    ]
    if not refused:
        return f"is {folder} a folder that this user may write to?"
    return (
        f"this user may not write to {', '.join(refused)}: let it, or run as the files' owner; the"
        " folder must be one that it may write to, too"
    )


def _translated(error: sqlite3.Error, path: Path | None) -> Exception:
    where = f"SQLite ({path or ':memory:'})"
    # Extended codes carry the primary one in their low byte.
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF == sqlite3.SQLITE_CONSTRAINT:
        return ConstraintViolatedError(f"{where}: {error}")
    if code is not None and code & 0xFF == sqlite3.SQLITE_BUSY:
        return NothingRanError(
            f"{where}: {error}; another program has held the file's lock for longer than"
            " busy_timeout in the database's URL"
        )
    if code is not None and code & 0xFF in _TRY_AGAIN:
        return DatabaseUnavailableError(f"{where}: {explained(error, path)}")
    text = str(error)
    about_values = isinstance(error, sqlite3.DataError) or code == sqlite3.SQLITE_MISMATCH
    if about_values or any(sign in text for sign in SIGNS_OF_A_VALUE):
        return DataRefusedError(f"{where}: {error}")
    if "no such table" in text or "no such column" in text or "has no column" in text:
        return MigrationRequiredError(
            f"{where}: {error}. The tables are missing or too old: run `server-jobs migrate`"
        )
    return DatabaseError(f"{where}: {explained(error, path)}")
