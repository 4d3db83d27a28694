"""Runs a statement over many rows so that one which the database refuses stops no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from server_jobs.errors import DataRefusedError

T = TypeVar("T")
R = TypeVar("R")


async def in_halves(
    items: Sequence[T],
    work: Callable[[list[T]], Awaitable[Iterable[R]]],
    refused: Callable[[T, DataRefusedError], Awaitable[object]],
) -> list[R]:
    """Do the work on all items or, where the database refuses their values, on each half of them.

    Halving ends at the offender, which ``refused`` is given. Returns what the work returned, all in
    one list. An error that isn't about values is raised: it concerns all items.
    """
    if not items:
        return []
    try:
        return list(await work(list(items)))
    except DataRefusedError as error:
        if len(items) == 1:
            await refused(items[0], error)
            return []
    middle = len(items) // 2
    first = await in_halves(items[:middle], work, refused)
    return first + await in_halves(items[middle:], work, refused)
