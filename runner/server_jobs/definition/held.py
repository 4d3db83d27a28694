"""One running job, as its holder sees it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from enum import Enum

from server_jobs.records.outcomes import Progress
from server_jobs.records.rows import Claim
from server_jobs.records.text import clean

_LONGEST_MESSAGE = 2_000


class StopReason(Enum):
    """Why a handler should stop before it is done."""

    CANCELLED = "cancelled on request"
    TIMED_OUT = "timed out"
    LEASE_LOST = "lease lost"
    SHUTDOWN = "its worker shuts down"
    CALLER = "its caller was cancelled"


class Held:
    """One running job, as its holder sees it. Safe to use from any thread."""

    __slots__ = ("_interrupt", "_lock", "_unwritten", "claim", "last_message", "stop_reason")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.stop_reason: StopReason | None = None
        self.last_message: str | None = None
        self._interrupt: Callable[[], None] | None = None
        self._unwritten: Progress | None = None
        self._lock = threading.Lock()

    def stop(self, reason: StopReason) -> None:
        """Ask the handler to stop. The first reason counts."""
        with self._lock:
            if self.stop_reason is not None:
                return
            self.stop_reason = reason
            interrupt = self._interrupt
        if interrupt is not None:
            interrupt()

    def interrupt_with(self, interrupt: Callable[[], None] | None) -> None:
        """What ``stop`` does to the handler besides raising the flag."""
        with self._lock:
            self._interrupt = interrupt
            late = self.stop_reason is not None
        if interrupt is not None and late:
            interrupt()

    def report(self, percent: float, message: str | None) -> None:
        """Note progress; the keeper writes it."""
        percent = 0.0 if math.isnan(percent) else min(max(float(percent), 0.0), 100.0)
        if message is not None:
            message = clean(message)[:_LONGEST_MESSAGE]
            self.last_message = message
        with self._lock:
            self._unwritten = (percent, self.last_message)

    @property
    def unwritten_progress(self) -> Progress | None:
        """What was reported and isn't known to be in the row."""
        return self._unwritten

    def has_written(self, progress: Progress) -> None:
        """This report is in the row now; a newer one isn't."""
        with self._lock:
            if self._unwritten is progress:
                self._unwritten = None
