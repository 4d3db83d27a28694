"""Ends a worker's process on signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from types import FrameType

from server_jobs.deadline import leave_after
from server_jobs.signals import Signals
from server_jobs.worker import LAST_MOMENT_SECONDS, LocalWorker

_log = logging.getLogger("server_jobs.worker")

SPARE_SECONDS = 5.0
"""How long the process may take to write and to close, after the worker's own deadlines."""


class StopOnSignals:
    """Within it, SIGTERM, SIGINT and SIGHUP stop the worker; a second one skips the grace period.

    They set the deadline even if a job blocks the event loop, or all of Python. As long as the
    worker has claimed nothing, they end the process at once, with 128 and the signal's number.
    """

    def __init__(self, worker: LocalWorker) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._signals = Signals(self._on_main_thread, self._on_thread)
        # Both means hear the same signals, but either may miss some.
        self._by_main_thread = self._by_thread = self._times = 0
        # Reentrant, since a signal may interrupt the main thread anywhere, even in here.
        self._lock = threading.RLock()

    @property
    def asked(self) -> bool:
        """Whether a signal has come, and with it a deadline."""
        return self._times > 0

    def __enter__(self) -> StopOnSignals:
        self._signals.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._signals.__exit__(*raised)

    def _on_main_thread(self, number: int, frame: FrameType | None) -> None:
        self._by_main_thread += 1
        self._hear(number, self._by_main_thread)

    def _on_thread(self, number: int) -> None:
        self._by_thread += 1
        self._hear(number, self._by_thread)

    def _hear(self, number: int, times: int) -> None:
        # Nothing here may log or wait: the code that it interrupts may hold what it waits for.
        with self._lock:
            if times <= self._times:
                return  # heard by the other means
            self._times = times
        if not self._worker.has_begun:
            os._exit(128 + number)
        grace = 0.0 if times > 1 else self._worker.settings.grace
        leave_after(grace + LAST_MOMENT_SECONDS + SPARE_SECONDS)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has ended
            self._loop.call_soon_threadsafe(self._stop, number, times > 1)

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
