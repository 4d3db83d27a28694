"""How much of its time, its queries and its jobs a tick has used."""

from __future__ import annotations

import time

from server_jobs_cloudflare.config import EdgeConfig
from server_jobs_cloudflare.metered import Meter
from server_jobs_cloudflare.summary import TickSummary

CHARGED = 0.8
"""A job that had this part of a tick's working time, and didn't end, may be too long for it."""


class TickBudget:
    """The limits of one tick, and what is left until it meets them. Times are in seconds."""

    def __init__(self, config: EdgeConfig, meter: Meter, summary: TickSummary) -> None:
        self._config = config
        self._meter = meter
        self._summary = summary
        self._began = time.monotonic()
        self._working_time = 0.0

    def begin(self) -> None:
        """Count the time from now on."""
        self._began = time.monotonic()

    @property
    def used(self) -> float:
        """How long the tick has taken so far."""
        return time.monotonic() - self._began

    def left(self) -> float:
        """Return how long the tick may go on. Below 0 it has taken too long already."""
        return self._config.wall_budget - self.used

    @property
    def jobs_left(self) -> int:
        """How many jobs the tick may still claim."""
        return self._config.max_jobs_per_tick - self._summary.claimed

    def why_spent(self) -> str | None:
        """Return which limit keeps the tick from claiming more; None if none does."""
        if self.used >= self._config.claiming_seconds:
            return "time"
        if self._meter.queries >= self._config.max_queries:
            return "queries"
        return "jobs" if self.jobs_left <= 0 else None

    def why_over(self) -> str | None:
        """Return which limit keeps the tick from waiting for its handlers; None if none does."""
        if self._meter.queries >= self._config.ceiling:
            return "queries"  # what is left settles the jobs that run
        return "time" if self.left() <= 0 else None

    def first_job_begins(self) -> None:
        """Note that handlers begin now: none can have more time than the first."""
        self._working_time = self.left()

    def came_too_late(self, seconds: float) -> bool:
        """Return whether a handler that ran for so long might have ended in a tick of its own."""
        return seconds < CHARGED * self._working_time
