"""Lets asynchronous code use blocking connections, which live on threads of their own.

A blocking driver on its own thread needs no event loop. So one :class:`ConnectionThreads` serves
every loop and thread of the process, and code without any loop. It measured about as fast as
asynchronous drivers (docs/adr/0001-blocking-drivers-on-owned-threads.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from server_jobs.synchronous import running_loop, threads_are_replaced

# Nothing can interrupt a look, and close() mustn't take as long as a whole wait.
_LONGEST_LOOK_SECONDS = 0.2

C = TypeVar("C")
"""The blocking driver's connection."""
T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Owned(Generic[C]):
    """What a thread owns, or a caller in its turn: a connection, once one is needed."""

    connection: C | None = None
    breaks: int = 0
    """How many had broken in its pool when it was opened."""


class _Pool(Generic[C]):
    """Holds threads, each of which owns one connection."""

    def __init__(self, threads: int, name: str) -> None:
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self.own = threading.local()
        self.connections: list[C] = []
        self.idle: list[_Owned[C]] = []
        """Those that no thread owns, because callers use them in turn, and nobody does just now."""
        self.turns = threading.BoundedSemaphore(threads)
        self.breaks = 0
        """How often connections broke. Whoever owns an older one opens a new one."""


class WatchingThread(ABC):
    """Looks for changes on a thread of its own, for all tasks that wait, as long as any waits."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"server-jobs-{name}")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._looking = False
        self._waits: dict[asyncio.Future[None], float] = {}
        """Who waits, and until when by the monotonic clock."""
        self._changes = 0
        """How many changes were seen so far."""
        self._told = 0
        """How many of them anybody was told of, and below, each task that has waited before."""
        self._told_to: weakref.WeakKeyDictionary[asyncio.Task[Any], int]
        self._told_to = weakref.WeakKeyDictionary()

    async def wait(self, timeout: float) -> None:
        """Return once something may have changed, or after ``timeout`` seconds.

        A change since the last call of the same task ends this one at once.
        """
        task, wait = asyncio.current_task(), asyncio.get_running_loop().create_future()
        assert task is not None  # noqa: S101 - a coroutine of an event loop runs in a task
        with self._lock:
            if self._told_to.get(task, self._told) == self._changes and not self._stop.is_set():
                self._waits[wait] = time.monotonic() + timeout
                if not self._looking:
                    self._looking = True
                    self._pool.submit(self._watch)
            else:
                wait.set_result(None)
        try:
            await wait
        finally:
            with self._lock:
                self._waits.pop(wait, None)
                self._told = self._told_to[task] = self._changes

    async def close(self) -> None:
        """End the waits that are under way, and the thread."""
        self._stop.set()
        await asyncio.to_thread(self._pool.shutdown, wait=True)

    def _watch(self) -> None:
        """Look again and again, on the thread, until nobody waits any more."""
        left: float | None = 0.0
        while left is not None:
            try:
                changed = self._stop.is_set() or self._look(left)
            except BaseException as error:  # noqa: BLE001 - raised where the wait is awaited
                left = self._end_waits(error)
            else:
                left = self._end_waits(changed)

    def _end_waits(self, why: bool | BaseException) -> float | None:
        """End all waits for a change or an error, otherwise those whose time is over.

        Returns for how long the next look may last; None means that nobody waits, so that there is
        no next one.
        """
        now = time.monotonic()
        with self._lock:
            self._changes += why is True
            ended = [
                wait
                for wait, until in self._waits.items()
                if why or until <= now or wait.get_loop().is_closed()
            ]
            for wait in ended:
                del self._waits[wait]
            left = min(self._waits.values(), default=None)
            self._looking = left is not None
        for wait in ended:
            if isinstance(why, BaseException):
                _hand_over(wait.get_loop(), wait, wait.set_exception, why)
            else:
                _hand_over(wait.get_loop(), wait, wait.set_result, None)
        return None if left is None else min(max(left - now, 0.0), _LONGEST_LOOK_SECONDS)

    @abstractmethod
    def _look(self, seconds: float) -> bool:
        """Look for at most ``seconds`` on the thread → whether something may have changed.

        It ends soon after ``_stop`` is set.
        """


class ConnectionThreads(ABC, Generic[C]):
    """Manages a small pool of threads that own one connection each.

    Connections are opened when they are needed.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._name = f"server-jobs-{name}"
        self._process_id = os.getpid()
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
            # On another thread, since it waits for statements that are under way.
            await asyncio.to_thread(self._shut, pool)

    @abstractmethod
    def _connect(self) -> C:
        """Open a connection, on the thread that will own it."""

    @abstractmethod
    def _disconnect(self, connection: C) -> None:
        """Close a connection."""

    @abstractmethod
    def _broken(self, connection: C, error: Exception) -> bool:
        """Tell whether the connection must not be used again after this error."""

    def _leads_elsewhere(self, connection: C) -> bool:
        """Tell whether the connection no longer leads to the database, so that a new one must."""
        return False

    async def _on_thread(self, work: Callable[[C], T]) -> T:
        """Run ``work`` on a thread that owns a connection → what ``work`` returns.

        If the caller is cancelled, work that has begun goes on to its end, since half a transaction
        is worse. Work that hasn't begun never does.
        """
        if self._process_id != os.getpid():
            # Forked by a program in C that didn't tell Python, as uWSGI does by default.
            self._after_fork_in_child()
        if threads_are_replaced():
            with self._lock:
                pool = self._pool = self._pool or self._new_pool()
            return self._here(pool, work)
        loop = running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        turn = iter((True,))

        def run() -> None:
            if not next(turn, False) or answer.cancelled():
                return
            # The answer is handed over here, since chaining the pool's future takes twice as long.
            try:
                result = self._with_connection(pool, work)
            except BaseException as error:  # noqa: BLE001 - raised where the answer is awaited
                _hand_over(loop, answer, answer.set_exception, error)
            else:
                _hand_over(loop, answer, answer.set_result, result)

        with self._lock:
            pool = self._pool = self._pool or self._new_pool()
            here = False
            try:
                pool.threads.submit(run)
            except RuntimeError:
                # The interpreter ends: it waits for threads and runs what atexit has, but starts no
                # thread any more. A thread that runs may have taken the work nevertheless.
                here = next(turn, False)
        return self._here(pool, work) if here else await answer

    def _here(self, pool: _Pool[C], work: Callable[[C], T]) -> T:
        """Run ``work`` on the calling thread, on a connection that nobody uses meanwhile."""
        with pool.turns, self._use:
            owned = pool.idle.pop() if pool.idle else _Owned()
            try:
                return self._run_on(pool, owned, work)
            finally:
                pool.idle.append(owned)

    def _new_pool(self) -> _Pool[C]:
        pool: _Pool[C] = _Pool(self._threads, self._name)
        self._pools.append(pool)
        return pool

    def _with_connection(self, pool: _Pool[C], work: Callable[[C], T]) -> T:
        """Run ``work`` on the thread that this is, on its own connection."""
        with self._use:
            owned: _Owned[C] | None = getattr(pool.own, "owned", None)
            if owned is None:
                owned = pool.own.owned = _Owned()
            return self._run_on(pool, owned, work)

    def _run_on(self, pool: _Pool[C], owned: _Owned[C], work: Callable[[C], T]) -> T:
        """Run ``work`` on a connection, which is opened, or replaced, where it has to be."""
        connection = owned.connection
        if connection is not None and (
            # Another connection has broken since: a restarted server drops all of them.
            owned.breaks != pool.breaks or self._leads_elsewhere(connection)
        ):
            self._drop(pool, owned, connection)
            connection = None
        if connection is None:
            owned.breaks = pool.breaks
            connection = owned.connection = self._connect()
            pool.connections.append(connection)
        try:
            return work(connection)
        except Exception as error:
            if self._broken(connection, error):
                if owned.breaks == pool.breaks:  # many that break at once count once
                    pool.breaks += 1
                self._drop(pool, owned, connection)
            raise

    def _drop(self, pool: _Pool[C], owned: _Owned[C], connection: C) -> None:
        owned.connection = None
        pool.connections.remove(connection)
        self._disconnect(connection)

    def _shut(self, pool: _Pool[C]) -> None:
        pool.threads.shutdown(wait=True)
        with self._use:
            self._pools.remove(pool)
            self._disconnect_all(pool)

    def _disconnect_all(self, pool: _Pool[C]) -> None:
        """Close a pool's connections, which no thread may be using. Its threads open new ones."""
        connections, pool.connections, pool.own = pool.connections, [], threading.local()
        pool.idle.clear()
        for connection in connections:
            self._disconnect(connection)

    def _before_fork(self) -> None:
        """Prepare for a fork. It is called on the thread that is about to fork."""

    def _after_fork(self) -> None:
        """Go on after a fork. It is called in the parent, on the thread that forked."""

    def _after_fork_in_child(self) -> None:
        """Begin anew in a forked child: it has no threads, and the connections are the parent's.

        The connections stay referenced, since closing them would send on the parent's sockets.
        """
        _inherited.append(self._pools)
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._pool, self._pools = None, []


def _hand_over(
    loop: asyncio.AbstractEventLoop,
    answer: asyncio.Future[Any],
    give: Callable[[Any], None],
    value: Any,
) -> None:
    """Hand the answer to the loop that asked, unless it no longer waits."""

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
    global _fork_lock
    _stopped.clear()
    for threads in list(_all):
        threads._after_fork_in_child()
    _fork_lock = threading.Lock()  # not released: some programs call only this one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
