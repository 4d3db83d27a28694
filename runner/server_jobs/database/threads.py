"""Asynchronous use of connections that live on threads of their own.

A blocking driver on an owned thread needs no event loop, so one :class:`ConnectionThreads` serves
every loop and thread of the process, and code without any loop at all. It measured as fast as
the asynchronous drivers do (docs/adr/0001).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

C = TypeVar("C")
"""The blocking driver's connection."""
T = TypeVar("T")


class _Pool(Generic[C]):
    """Threads, and the connections that they own one by one."""

    def __init__(self, threads: int, name: str) -> None:
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self.own = threading.local()
        self.connections: list[C] = []
        self.breaks = 0
        """How often a connection broke: whoever has one from before is to open another."""


class ConnectionThreads(ABC, Generic[C]):
    """A small pool of threads that own one connection each, opened as they are needed."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._name = f"server-jobs-{name}"
        self._lock = threading.Lock()
        self._pool: _Pool[C] | None = None
        self._pools: list[_Pool[C]] = []
        self._use: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        with _fork_lock:
            _all.add(self)

    async def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            # Off the loop: a statement that is under way is waited for.
            await asyncio.to_thread(self._shut, pool)

    @abstractmethod
    def _connect(self) -> C:
        """Open a connection, on the thread that will own it."""

    @abstractmethod
    def _disconnect(self, connection: C) -> None:
        """Close a connection."""

    @abstractmethod
    def _broken(self, connection: C, error: Exception) -> bool:
        """Whether the connection must not be used again after this error."""

    async def _on_thread(self, work: Callable[[C], T]) -> T:
        """Run ``work`` on a thread that owns a connection.

        The caller may be cancelled meanwhile. Work that has begun is not, since half a transaction
        is worse; work that hasn't isn't begun any more.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            if answer.cancelled():
                return
            # Handed over here: chaining the pool's own future takes twice as long.
            try:
                result = self._with_connection(pool, work)
            except BaseException as error:  # noqa: BLE001 - raised where the answer is awaited
                _hand_over(loop, answer, answer.set_exception, error)
            else:
                _hand_over(loop, answer, answer.set_result, result)

        with self._lock:
            pool = self._pool = self._pool or self._new_pool()
            pool.threads.submit(run)
        return await answer

    def _new_pool(self) -> _Pool[C]:
        pool: _Pool[C] = _Pool(self._threads, self._name)
        self._pools.append(pool)
        return pool

    def _with_connection(self, pool: _Pool[C], work: Callable[[C], T]) -> T:
        with self._use:
            connection: C | None = getattr(pool.own, "connection", None)
            if connection is not None and pool.own.breaks != pool.breaks:
                # Another one broke since: a server that was restarted has dropped them all.
                self._drop(pool, connection)
                connection = None
            if connection is None:
                pool.own.breaks = pool.breaks
                connection = pool.own.connection = self._connect()
                pool.connections.append(connection)
            try:
                return work(connection)
            except Exception as error:
                if self._broken(connection, error):
                    if pool.own.breaks == pool.breaks:  # the news of many that broke at once
                        pool.breaks += 1
                    self._drop(pool, connection)
                raise

    def _drop(self, pool: _Pool[C], connection: C) -> None:
        pool.own.connection = None
        pool.connections.remove(connection)
        self._disconnect(connection)

    def _shut(self, pool: _Pool[C]) -> None:
        pool.threads.shutdown(wait=True)
        with self._use:
            self._pools.remove(pool)
            self._disconnect_all(pool)

    def _disconnect_all(self, pool: _Pool[C]) -> None:
        """Close a pool's connections while no thread uses one; its threads would open new ones."""
        connections, pool.connections, pool.own = pool.connections, [], threading.local()
        for connection in connections:
            self._disconnect(connection)

    def _before_fork(self) -> None:
        """Called on the thread that is about to fork."""

    def _after_fork(self) -> None:
        """Called on the same thread, in the parent."""

    def _after_fork_in_child(self) -> None:
        """In a forked child: the threads are gone, and the connections are the parent's.

        They are kept referenced, for closing them would speak on the parent's sockets.
        """
        _inherited.append(self._pools)
        self._lock = threading.Lock()
        self._pool, self._pools = None, []


def _hand_over(
    loop: asyncio.AbstractEventLoop,
    answer: asyncio.Future[Any],
    give: Callable[[Any], None],
    value: Any,
) -> None:
    """Answer on the loop that asked, unless it no longer waits."""

    def unless_cancelled() -> None:
        if not answer.done():
            give(value)

    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(unless_cancelled)


_all: weakref.WeakSet[ConnectionThreads[Any]] = weakref.WeakSet()
_stopped: list[ConnectionThreads[Any]] = []
_inherited: list[object] = []
_fork_lock = threading.Lock()


def _before_fork() -> None:
    _fork_lock.acquire()
    for threads in list(_all):
        threads._before_fork()
        _stopped.append(threads)


def _after_fork_in_parent() -> None:
    while _stopped:
        _stopped.pop()._after_fork()
    _fork_lock.release()


def _after_fork_in_child() -> None:
    _stopped.clear()
    for threads in list(_all):
        threads._after_fork_in_child()
    _fork_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
