"""Spaces calls, so that there are at most N a second."""

from __future__ import annotations

import asyncio
import time


class Pace:
    """Spaces calls evenly. What wasn't used during the last second may be caught up with."""

    def __init__(self, per_second: float) -> None:
        self._distance = 1 / per_second
        self._next = 0.0

    async def next(self) -> None:
        """Waits until the next call is due."""
        now = time.monotonic()
        self._next = max(self._next, now - 1.0) + self._distance
        if self._next > now:
            await asyncio.sleep(self._next - now)
