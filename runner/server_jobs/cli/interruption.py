"""Ends a command that is interrupted, with an honest exit status."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from server_jobs.signals import Signals, end_signals

PATIENCE_SECONDS = 5.0
"""How long an interrupted command may take to clean up."""


class Interruption:
    """Within this block SIGTERM, and SIGHUP of a closed terminal, end a command as Ctrl-C does.

    The exit status is 128 and the signal's number. If the command hasn't ended after some seconds,
    or on the next signal, the process ends anyway. So it does as the first process of a
    container, which the kernel protects from signals that it has no handler for.

    ``worker`` and ``run`` have blocks of their own within this one, for as long as jobs run.
    """

    def __init__(self) -> None:
        self._status: int | None = None
        self._deadline: threading.Timer | None = None
        numbers = [number for number in end_signals() if number != signal.SIGINT]
        self._signals = Signals(self._on_main_thread, self._on_thread, numbers)

    def __enter__(self) -> None:
        self._signals.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        self._signals.__exit__()
        if self._status is None:
            return
        # A command that has done all it had to is done, even if it was interrupted then.
        if isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code):
            raise SystemExit(self._status) from None

    def _on_main_thread(self, number: int, frame: FrameType | None) -> None:
        self._status = self._status or 128 + number
        interrupt = signal.getsignal(signal.SIGINT)  # asyncio has its own while a loop runs
        if callable(interrupt):
            interrupt(signal.SIGINT, frame)
        else:  # a shell's background jobs ignore Ctrl-C
            raise KeyboardInterrupt

    def _on_thread(self, number: int) -> None:
        self._status = status = self._status or 128 + number
        if self._deadline is not None:
            os._exit(status)
        self._deadline = threading.Timer(PATIENCE_SECONDS, os._exit, [status])
        self._deadline.daemon = True
        self._deadline.start()
