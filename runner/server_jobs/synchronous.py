"""The one way to use server-jobs from synchronous code: ``run_sync(job.later(…))``."""

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
    """Run one call of the API to its end, on this thread, and return what it returns.

    >>> job_id = run_sync(send_email.later(params, connection=session))

    For Django, Flask and scripts. The database is used as from anywhere else: its connections
    belong to no event loop. In code that runs in one, ``await`` the call instead.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        call.close()
        raise ServerJobsError("run_sync() was called where an event loop runs: await the call")
    loop: _Loop | None = getattr(_per_thread, "loop", None)
    if loop is None or loop.process_id != os.getpid():
        # Kept for the thread's next call: making a loop costs as much as enqueuing a job.
        loop = _per_thread.loop = _Loop()
    return loop.runner.run(call)


class _Loop:
    """An event loop that is closed when its thread ends."""

    def __init__(self) -> None:
        self.process_id = os.getpid()
        # Not epoll or kqueue, which live in the kernel and are shared with a forked child: when
        # the child let go of its copy of this loop, the parent's would never wake again.
        self.runner = asyncio.Runner(
            loop_factory=lambda: asyncio.SelectorEventLoop(selectors.PollSelector())
        )

        # When the thread ends, or else the interpreter, while modules are still whole.
        weakref.finalize(self, _close, self.runner.get_loop())


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop, but not by Runner.close().

    That waits for the loop's threads: at the interpreter's end none can be started to do so, and
    in a forked child there are none.
    """
    if not loop.is_running():
        loop.close()
