"""What is left out for a while, because the database refuses to change it."""

from __future__ import annotations

import time

MOST = 1_000
"""How many ids are remembered. Those that were left out first are then tried again."""


class LeftOut:
    """Ids of rows that are left out for some seconds, lest each turn begins with them again."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, row_id: str) -> bool:
        until = self._until.get(row_id)
        if until is None:
            return False
        if time.monotonic() < until:
            return True
        del self._until[row_id]
        return False

    def add(self, row_id: str) -> None:
        """Leave a row out from now on."""
        self._until.pop(row_id, None)
        while len(self._until) >= MOST:
            del self._until[next(iter(self._until))]
        self._until[row_id] = time.monotonic() + self._seconds
