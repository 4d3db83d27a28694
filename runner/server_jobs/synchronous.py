"""``run_sync(job.later(…))`` is how synchronous code uses server-jobs."""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
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
    """
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
