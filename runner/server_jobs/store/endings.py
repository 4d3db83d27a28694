"""Waits for the ends of jobs: all that wait on one database ask it together."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterable
from dataclasses import dataclass

from server_jobs.database import Database
from server_jobs.store.reader import Reader

_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.01, 0.5, 1.5
"""How long a wait lets pass before it asks again, in seconds: soon at first, then less often."""


@dataclass(eq=False, slots=True)
class _Wait:
    """One call that waits. ``due`` is when it wants to ask, by the clock of its loop."""

    job_id: str
    over: asyncio.Future[None]
    due: float
    pause: float = _FIRST_PAUSE


class Endings:
    """Tells the calls that wait on one database, in one event loop, that their jobs have ended.

    Thousands of them are one statement each half second, instead of thousands.
    """

    def __init__(self, database: Database) -> None:
        self._key = asyncio.get_running_loop(), database
        self._reader = Reader(database)
        self._waits: set[_Wait] = set()
        self._asking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    @classmethod
    def of(cls, database: Database) -> Endings:
        """Return the one that all who wait on this database in the running event loop share."""
        return _known.get((asyncio.get_running_loop(), database)) or cls(database)

    async def wait(self, job_id: str) -> None:
        """Return once the job has ended, or its record is gone. Raises DatabaseError."""
        loop = asyncio.get_running_loop()
        wait = _Wait(job_id, loop.create_future(), loop.time() + _FIRST_PAUSE)
        self._waits.add(wait)
        self._news.set()
        _known.setdefault(self._key, self)
        if self._asking is None or self._asking.done():
            self._begin()
        try:
            await wait.over
        finally:
            self._waits.discard(wait)
            # Not where the task ends: a loop that is left with this call never comes to that.
            if not self._waits and _known.get(self._key) is self:
                del _known[self._key]

    def _begin(self) -> None:
        # The context is empty: whose wait is the first isn't who asks for all.
        self._asking = asyncio.create_task(
            self._ask(), name="endings", context=contextvars.Context()
        )
        self._asking.add_done_callback(self._begin_anew)

    def _begin_anew(self, asked: asyncio.Task[None]) -> None:
        """Go on for those that still wait. A handler may have cancelled all tasks of the loop."""
        if asked is self._asking and asked.cancelled() and self._waits:
            self._begin()

    async def _ask(self) -> None:
        """Ask for all that are due, as long as there is anybody to ask for."""
        loop = asyncio.get_running_loop()
        while self._waits:
            self._news.clear()
            left = min(wait.due for wait in self._waits) - loop.time()
            if left > 0:
                await _event_within(self._news, left)
                continue
            # Whoever is due soon asks now, so that those who have waited for long ask together.
            now = loop.time()
            due = [wait for wait in self._waits if wait.due <= now + wait.pause / 2]
            await self._answer(due)
            for wait in due:
                wait.pause = min(wait.pause * _GROWTH, _LONGEST_PAUSE)
                wait.due = loop.time() + wait.pause

    async def _answer(self, due: Iterable[_Wait]) -> None:
        try:
            over = await self._reader.ended({wait.job_id for wait in due})
        except Exception as error:  # noqa: BLE001 - raised where the answer is awaited
            for wait in due:
                if not wait.over.done():
                    wait.over.set_exception(error)
                self._waits.discard(wait)
            return
        for wait in due:
            if wait.job_id in over:
                if not wait.over.done():
                    wait.over.set_result(None)
                self._waits.discard(wait)


_known: dict[tuple[asyncio.AbstractEventLoop, Database], Endings] = {}
"""Only those that somebody waits on, so that neither loops nor databases are kept alive."""


async def _event_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
