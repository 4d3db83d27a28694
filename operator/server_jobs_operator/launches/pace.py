"""So many a second."""

from __future__ import annotations

import asyncio
import time


class Pace:
    """Evenly."""

    def __init__(self, per_second: float) -> None:
        self._distance = 1 / per_second
        self._next = 0.0

    async def next(self) -> None:
        """Wait for one's turn."""
        now = time.monotonic()
        # What wasn't used for a second may be made up for at once.
        self._next = max(self._next, now - 1.0) + self._distance
        if self._next > now:
            await asyncio.sleep(self._next - now)
