"""``run_sync(job.later(…))`` is how synchronous code uses server-jobs.

It is also where server-jobs finds out in what kind of program it is called.
"""

from __future__ import annotations

import _thread
import asyncio
import os
import selectors
import threading
import types
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

from server_jobs.errors import ServerJobsError

T = TypeVar("T")

_per_thread = threading.local()


def run_sync(call: Coroutine[Any, Any, T]) -> T:
    """Run one call of the API to its end on this thread → what the call returns.

    >>> job_id = run_sync(send_email.later(params, connection=session))

    It serves Django, Flask and scripts. The same ``Database`` may also be used from event loops,
    since its connections belong to none. Raises ServerJobsError if this thread already runs an
    event loop: ``await`` the call there.

    Where gevent or eventlet has replaced threads, calls that only read or write records work;
    those that run handlers or wait raise ServerJobsError.
    """
    if threads_are_replaced():
        return _run_without_loop(call)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        call.close()
        raise ServerJobsError(
            "run_sync() was called on a thread that runs an event loop: await the call instead"
        )
    loop: _Loop | None = getattr(_per_thread, "loop", None)
    if loop is None or loop.process_id != os.getpid():
        # Kept for the thread's next call, since making a loop costs as much as enqueuing a job.
        loop = _per_thread.loop = _Loop()
    return loop.runner.run(call)


def threads_are_replaced() -> bool:
    """Return whether gevent or eventlet has made greenlets of this process's threads.

    All of them share one thread of the system, and so they can't have an event loop each.
    """
    return not isinstance(_thread.start_new_thread, types.BuiltinFunctionType)


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop that runs on this thread. Raises ServerJobsError where there is none.

    The error says how to make the call in the program at hand.
    """
    if threads_are_replaced():
        raise _replaced()
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ServerJobsError(
            "no asyncio event loop runs here: call it as run_sync(job.later(...)), or, under trio,"
            " as await trio.to_thread.run_sync(run_sync, job.later(...))"
        ) from None


def _replaced() -> ServerJobsError:
    return ServerJobsError(
        "gevent or eventlet has replaced this process's threads: here run_sync() can enqueue jobs,"
        " look them up, cancel and retry them, but neither execute them nor wait for them. Do that"
        " in a process that isn't patched, for instance in a worker"
    )


def _run_without_loop(call: Coroutine[Any, Any, T]) -> T:
    try:
        call.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    call.close()
    raise _replaced()


class _Loop:
    """An event loop that is closed when its thread ends."""

    def __init__(self) -> None:
        self.process_id = os.getpid()
        # Not epoll or kqueue: they live in the kernel, and a forked child shares them. If the
        # child closed its copy of this loop, the parent's loop would never wake again.
        self.runner = asyncio.Runner(
            loop_factory=lambda: asyncio.SelectorEventLoop(selectors.PollSelector())
        )

        # Runs when the thread ends, or at the interpreter's end while modules are still whole.
        weakref.finalize(self, _close, self.runner.get_loop())


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop without Runner.close(), which would wait for the loop's threads.

    At the interpreter's end no thread can be started for that wait; a forked child has no threads.
    """
    if not loop.is_running():
        loop.close()
