"""Retention: how long the records of finished jobs are kept, and the walk that deletes them.

A walk goes along the primary key in short stretches: one statement looks, one deletes, and each
reads a bounded number of rows whatever lies in the table. Between two stretches it rests, so that
a worker's claims, and other writers of a SQLite file, have their turn.

Two may walk at the same time, and nothing that counts is forgotten with a record: what a
schedule's fire time needs to fire once is in ``cron_jobs.next_run_at``, set before the job is
made, and a unique key is held by live jobs only.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from server_jobs.errors import ConfigurationError, DatabaseError
from server_jobs.records.requests import Prunable, Stretch
from server_jobs.records.status import JobStatus
from server_jobs.store.store import Store

_log = logging.getLogger("server_jobs.retention")

DAY = 86_400.0
LONGEST = 100 * 365 * DAY

KEEP_COMPLETED, KEEP_FAILED, KEEP_CANCELLED = 7 * DAY, 30 * DAY, 30 * DAY
"""The defaults: what went well is asked about for a week, what didn't for a month."""

ROWS = 500
"""How many rows a statement reads at most. Deleting so many takes some milliseconds."""

REST = 4
"""How many times as long as it worked a walk rests: it takes a fifth of one connection."""

AHEAD = timedelta(days=1)
"""By how much a clock that made an id may be ahead of the database's."""


@dataclass(frozen=True, slots=True)
class Keep:
    """For how many seconds records are kept after their end; None is for ever."""

    completed: float | None = KEEP_COMPLETED
    failed: float | None = KEEP_FAILED
    cancelled: float | None = KEEP_CANCELLED

    def __post_init__(self) -> None:
        for status, seconds in self._seconds.items():
            if seconds is not None and not 0 <= seconds <= LONGEST:
                raise ConfigurationError(
                    f"keep_{status}={seconds} isn't between 0 seconds and 100 years"
                )

    def prunable(self, now: datetime) -> Prunable:
        """What has been kept for long enough."""
        return Prunable(
            {
                status: now - timedelta(seconds=seconds)
                for status, seconds in self._seconds.items()
                if seconds is not None
            }
        )

    @property
    def for_ever(self) -> bool:
        """Whether nothing is ever to be deleted."""
        return all(seconds is None for seconds in self._seconds.values())

    @property
    def _seconds(self) -> dict[JobStatus, float | None]:
        return {
            JobStatus.COMPLETED: self.completed,
            JobStatus.FAILED: self.failed,
            JobStatus.CANCELLED: self.cancelled,
        }


async def walk(
    store: Store,
    prunable: Prunable,
    *,
    delete: bool,
    after: str = "",
    but: tuple[str, str] | None = None,
    rows: int = ROWS,
    rest: float = REST,
) -> AsyncIterator[Stretch]:
    """Look at all records by id and ``delete`` the prunable ones → each stretch, when it is done.

    What it says to be prunable is then what was deleted. It jumps over ids in the range ``but``.
    """
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        stretch = await store.survey(prunable, after=after, limit=rows)
        if delete and any(stretch.prunable.values()):
            gone = await store.prune(prunable, after=after, to=stretch.last_id)
            stretch = Stretch(stretch.last_id, stretch.rows, Counter(gone.values()))
        took = loop.time() - began
        yield stretch
        if stretch.rows < rows:
            return
        after = stretch.last_id
        if but is not None and but[0] <= after < but[1]:
            after = but[1]
        await asyncio.sleep(rest * took)


class Retention:
    """Prunes one database now and then, on behalf of a backend."""

    def __init__(self, store: Store, keep: Keep) -> None:
        self._store = store
        self._keep = keep
        self._after = ""

    async def run(self, interval: float) -> None:
        """One pass per interval, until cancelled. A database that fails is asked again then."""
        # At random, so that the workers of a deployment don't all walk at once.
        await asyncio.sleep(random.uniform(0, interval))
        while True:
            try:
                await self.run_pass()
            except DatabaseError as error:
                _log.warning("pruning has to wait: %s", error)
            await asyncio.sleep(random.uniform(0.5, 1.5) * interval)

    async def run_pass(self) -> Counter[JobStatus]:
        """Delete what has been kept for long enough → how many of each status.

        A pass that was broken off is continued by the next one.
        """
        gone: Counter[JobStatus] = Counter()
        if self._keep.for_ever:
            return gone
        now = await self._store.clock()
        prunable = self._keep.prunable(now)
        try:
            async for stretch in walk(
                self._store, prunable, delete=True, after=self._after, but=_too_young(prunable, now)
            ):
                gone.update(stretch.prunable)
                self._after = stretch.last_id
            self._after = ""
        finally:
            if any(gone.values()):
                _report(gone)
        return +gone


def _too_young(prunable: Prunable, now: datetime) -> tuple[str, str]:
    """The ids of jobs that were made too lately to have ended long enough ago.

    Others may lie among them for a while: ids of another kind by chance, those of a clock that is
    ahead, and of jobs made at once by the thousand, which count on into the coming milliseconds.
    They are pruned that much later.
    """
    return _first_id(max(prunable.before.values())), _first_id(now + AHEAD)


def _first_id(moment: datetime) -> str:
    """What no UUIDv7 of that millisecond, or a later one, sorts below."""
    digits = f"{max(0, int(moment.timestamp() * 1000)):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def _report(gone: Counter[JobStatus]) -> None:
    counts = {status: count for status, count in sorted(gone.items()) if count}
    _log.info(
        "pruned %d jobs: %s",
        gone.total(),
        ", ".join(f"{count} {status}" for status, count in counts.items()),
        extra={f"pruned_{status}": count for status, count in counts.items()},
    )
