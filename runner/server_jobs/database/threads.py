"""Asynchronous use of connections that live on threads of their own.

A blocking driver on an owned thread needs no event loop, so one :class:`ThreadedDatabase` serves
every loop and thread of the process, and code without any loop at all. It measured as fast as
the asynchronous drivers do (docs/adr/0001).
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from sqlalchemy.engine import Dialect

from server_jobs.database.base import Capabilities, Row, Statement
from server_jobs.database.compiled import StatementCompiler
from server_jobs.schema import Tables

C = TypeVar("C")
"""The blocking driver's connection."""
T = TypeVar("T")


class ThreadedDatabase(ABC, Generic[C]):
    """A database whose connections are owned one by one by the threads of a small pool."""

    def __init__(
        self, *, dialect: Dialect, tables: Tables, capabilities: Capabilities, threads: int
    ) -> None:
        self._dialect = dialect
        self._tables = tables
        self._capabilities = capabilities
        self._threads = threads
        self._compiler = StatementCompiler(dialect)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._connections: list[C] = []
        _open_databases.add(self)

    @property
    def tables(self) -> Tables:
        return self._tables

    @property
    def dialect(self) -> Dialect:
        return self._dialect

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def execute(self, statement: Statement) -> list[Row]:
        return await self._on_thread(lambda connection: self._run(connection, [statement])[0])

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        if not statements:
            return []
        return await self._on_thread(lambda connection: self._run(connection, statements))

    async def close(self) -> None:
        with self._lock:
            pool, connections = self._pool, list(self._connections)
            self._start_fresh()
        if pool is not None:
            # Off the loop: a statement that is under way is waited for.
            await asyncio.to_thread(self._shut, pool, connections)

    @abstractmethod
    def _connect(self) -> C:
        """Open a connection, on the thread that will own it."""

    @abstractmethod
    def _disconnect(self, connection: C) -> None:
        """Close a connection."""

    @abstractmethod
    def _run(self, connection: C, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements, all or none; one alone is its own transaction."""

    @abstractmethod
    def _broken(self, connection: C, error: Exception) -> bool:
        """Whether the connection must not be used again after this error."""

    async def _on_thread(self, work: Callable[[C], T]) -> T:
        """Run ``work`` on a thread that owns a connection.

        The caller may be cancelled meanwhile; the work is not, since half a transaction is worse.
        """
        return await asyncio.wrap_future(self._ensure_pool().submit(self._with_connection, work))

    def _with_connection(self, work: Callable[[C], T]) -> T:
        connection: C | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            self._connections.append(connection)
        try:
            return work(connection)
        except Exception as error:
            if self._broken(connection, error):
                self._local.connection = None
                self._connections.remove(connection)
                self._disconnect(connection)
            raise

    def _ensure_pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    self._threads, thread_name_prefix=f"server-jobs-{self._dialect.name}"
                )
            return self._pool

    def _start_fresh(self) -> None:
        self._pool = None
        self._local = threading.local()
        self._connections = []

    def _shut(self, pool: ThreadPoolExecutor, connections: list[C]) -> None:
        pool.shutdown(wait=True)
        for connection in connections:
            self._disconnect(connection)

    def _forget_parents_connections(self) -> None:
        """In a forked child: the threads are gone, and the sockets and files are the parent's.

        They are kept referenced, for closing them would speak on the parent's connection.
        """
        _inherited.append((self._pool, self._connections, self._local))
        self._lock = threading.Lock()
        self._start_fresh()


_open_databases: weakref.WeakSet[ThreadedDatabase[Any]] = weakref.WeakSet()
_inherited: list[object] = []


def _after_fork_in_child() -> None:
    for database in list(_open_databases):
        database._forget_parents_connections()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
