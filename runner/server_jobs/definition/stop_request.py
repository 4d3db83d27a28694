"""The request that a handler stop, and why."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum


class StopReason(Enum):
    """Why a handler should stop before it is done."""

    CANCELLED = "cancelled on request"
    TIMED_OUT = "timed out"
    LEASE_LOST = "lease lost"
    SHUTDOWN = "its worker shuts down"
    CALLER = "its caller was cancelled"
    BROKE_OUT = "code that it left on the event loop tried to end the process"


class StopRequest:
    """The request that one handler stop. It may be made, or never be.

    ``reason`` is None until the request is made. Every method may be called from any thread.
    """

    __slots__ = ("_interrupt", "_lock", "error", "reason")

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self.error: BaseException | None = None
        """What went wrong, if that is the reason."""
        self._interrupt: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def make(self, reason: StopReason, error: BaseException | None = None) -> None:
        """Ask the handler to stop, and interrupt it if it can be. Only the first reason counts."""
        with self._lock:
            if self.reason is not None:
                return
            self.reason, self.error = reason, error
            interrupt = self._interrupt
        if interrupt is not None:
            interrupt()

    def interrupt_with(self, interrupt: Callable[[], None] | None) -> None:
        """Set the function that interrupts the handler; None is for a handler that has ended.

        It is called when the request is made, or at once where that has happened already.
        """
        with self._lock:
            self._interrupt = interrupt
            made = self.reason is not None
        if interrupt is not None and made:
            interrupt()
