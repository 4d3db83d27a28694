"""A running job, as the process that holds its lease sees it."""

from __future__ import annotations

import math
import threading

from server_jobs.definition.stop_request import StopRequest
from server_jobs.records.outcomes import Progress
from server_jobs.records.rows import Claim
from server_jobs.records.text import clean

_LONGEST_MESSAGE = 2_000


class Held:
    """A running job, as the process that holds its lease sees it: its claim and its progress.

    ``stop_request`` is the way to its handler. Every method may be called from any thread.
    """

    __slots__ = ("_lock", "_unwritten", "claim", "last_message", "stop_request")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.stop_request = StopRequest()
        self.last_message: str | None = None
        self._unwritten: Progress | None = None
        self._lock = threading.Lock()

    def report(self, percent: float, message: str | None) -> None:
        """Note progress, which the lease keeper writes. A message of None keeps the last one."""
        percent = 0.0 if math.isnan(percent) else min(max(float(percent), 0.0), 100.0)
        if message is not None:
            message = clean(message)[:_LONGEST_MESSAGE]
            self.last_message = message
        with self._lock:
            self._unwritten = (percent, self.last_message)

    @property
    def unwritten_progress(self) -> Progress | None:
        """The last report, unless it is known to be in the row."""
        return self._unwritten

    def has_written(self, progress: Progress) -> None:
        """Note that this report is in the row. A newer one still counts as unwritten."""
        with self._lock:
            if self._unwritten is progress:
                self._unwritten = None
