"""The one way to use server-jobs from synchronous code: ``run_sync(job.later(…))``."""

from __future__ import annotations

import asyncio
import threading
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
    if loop is None:
        # Kept for the thread's next call: making a loop costs as much as enqueuing a job.
        loop = _per_thread.loop = _Loop()
    return loop.runner.run(call)


class _Loop:
    """An event loop that is closed when its thread ends."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()

    def __del__(self) -> None:
        self.runner.close()
