"""Ends a worker's process on signals, and leaves handlers behind that don't end."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import sys
from types import FrameType
from typing import Any

from server_jobs.worker import LAST_MOMENT_SECONDS, LocalWorker

_log = logging.getLogger("server_jobs.worker")

SPARE_SECONDS = 5.0
"""How long the process may take to write and to close, after the worker's own deadlines."""


class StopOnSignals:
    """Within it, SIGTERM and SIGINT stop the worker; a second one skips the grace period.

    The handlers are the interpreter's and not the event loop's, so that they set the deadline even
    if a job blocks the loop.
    """

    def __init__(self, worker: LocalWorker) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._replaced: dict[int, Any] = {}
        self.asked = False
        """Whether a signal has come, and with it a deadline."""

    def __enter__(self) -> StopOnSignals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._replaced[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._replaced.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Nothing here may log or lock: the code that it interrupts may hold the lock.
        grace = 0.0 if self.asked else self._worker.settings.grace
        leave_after(grace + LAST_MOMENT_SECONDS + SPARE_SECONDS)
        self._loop.call_soon_threadsafe(self._stop, number, self.asked)
        self.asked = True

    def _stop(self, number: int, again: bool) -> None:
        name = signal.Signals(number).name
        if again:
            _log.warning("%s again: stopping at once", name)
        else:
            _log.info(
                "%s: stopping; running handlers have %g s (signal again to stop at once)",
                name,
                self._worker.settings.grace,
            )
        self._worker.stop()


def leave_after(seconds: float) -> None:
    """End the process after so many seconds, whatever runs, and print all stacks on stderr."""
    # The watchdog is written in C and needs a real file. If stderr is closed, there is none.
    if sys.__stderr__ is not None and not sys.__stderr__.closed:
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)


def leave_now(status: int) -> None:
    """End the process at once, even if threads run that Python would wait for."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # A handler may have closed it, or taken it away.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(status)
