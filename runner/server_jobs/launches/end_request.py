"""The request that a runner's process end."""

from __future__ import annotations

import os
from types import FrameType

from server_jobs.deadline import leave_after
from server_jobs.signals import Signals


class EndRequest:
    """Within this block SIGTERM, SIGINT and SIGHUP set ``asked``.

    Before ``job_begins`` they end the process, with 128 and the signal's number.

    It notices them whatever the handler does. If that keeps the interpreter's lock, so that nobody
    can act on the request, the process ends by the time that ``end_within`` has set.
    """

    def __init__(self) -> None:
        self.asked = False
        self.job_begins = False
        self._last_moment: float | None = None
        self._signals = Signals(self._on_main_thread, self._on_thread)

    def __enter__(self) -> EndRequest:
        self._signals.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._signals.__exit__(*raised)

    def end_within(self, seconds: float) -> None:
        """Let the process end at most so many seconds after the request, or after now."""
        self._last_moment = seconds
        if self.asked:
            leave_after(seconds)

    def _on_main_thread(self, number: int, frame: FrameType | None) -> None:
        self._on_thread(number)

    def _on_thread(self, number: int) -> None:
        if not self.job_begins:
            os._exit(128 + number)  # no handler has begun; the launcher sees the process end
        if self._last_moment is not None and not self.asked:
            leave_after(self._last_moment)
        self.asked = True
