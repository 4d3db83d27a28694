"""What a handler has raised: the words of ours in it, also those inside exception groups."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from server_jobs.errors import CancelJob, JobSignal, PermanentError, RetryLater


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions of a group and of the groups in it; else the exception itself."""
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        else:
            yield each


def signal_of(error: BaseException) -> JobSignal | None:
    """Return the signal by which a handler chose its end; None if it chose none.

    Of several in a group, ``PermanentError`` goes before ``CancelJob``, and that before
    ``RetryLater``, of which the longest delay counts. The first two count whatever was raised
    beside them: the handler wants no further attempt. ``RetryLater`` counts only by itself: an
    error beside it uses up an attempt, as it would alone.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error if isinstance(error, JobSignal) else None
    leaves = [each for each in leaves_of(error) if not isinstance(each, asyncio.CancelledError)]
    for kind in (PermanentError, CancelJob):
        for each in leaves:
            if isinstance(each, kind):
                return each
    delays = _delays_in(leaves)
    return max(delays, key=_delay) if delays and len(delays) == len(leaves) else None


def shortest_wait(error: BaseException) -> float:
    """Return the seconds that a group's longest ``RetryLater`` asks for; 0 if it has none."""
    return max(map(_delay, _delays_in(leaves_of(error))), default=0.0)


def _delays_in(leaves: Iterable[BaseException]) -> list[RetryLater]:
    return [each for each in leaves if isinstance(each, RetryLater)]


def _delay(signal: RetryLater) -> float:
    return signal.delay_seconds
