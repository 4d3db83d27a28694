"""In which order a worker asks its queues for jobs."""

from __future__ import annotations

from collections.abc import Sequence


class QueueRotation:
    """The queues of one worker, in an order that begins with another queue each time.

    A claim names one queue and takes as much as there is room for. In a fixed order, the last queue
    would wait until all others are empty.
    """

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues = list(queues)
        self._next = 0

    def order(self) -> list[str]:
        """Return the queues in the order in which they are to be asked this time."""
        first = self._next % len(self._queues)
        self._next += 1
        return self._queues[first:] + self._queues[:first]

    def begin_after(self, queue: str) -> None:
        """Let the next order begin with the queue that follows this one."""
        self._next = self._queues.index(queue) + 1
