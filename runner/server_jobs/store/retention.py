"""Retention: how long the records of finished jobs are kept, and the walk that deletes them.

A walk follows the primary key in short stretches. In each, one statement looks, one deletes, and
both read a bounded number of rows, whatever lies in the table. Between two stretches it rests,
so that claims, and other writers of a SQLite file, get their turn.

Two processes may walk at the same time. Deleting a record loses nothing that still counts: a fire
time fires once because of ``cron_jobs.next_run_at``, which is set before the job is made, and only
live jobs hold unique keys.
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
"""The defaults: people ask about completed jobs for a week, about failed ones for a month."""

ROWS = 500
"""How many rows a statement reads at most. Deleting so many takes some milliseconds."""

REST = 4
"""A walk rests this many times as long as it worked, and so uses a fifth of one connection."""

AHEAD = timedelta(days=1)
"""How far the clock that made an id may be ahead of the database's."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How many seconds records are kept after their job ended; None keeps them for ever."""

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
        """Return which records have been kept for long enough by now."""
        return Prunable(
            {
                status: now - timedelta(seconds=seconds)
                for status, seconds in self._seconds.items()
                if seconds is not None
            }
        )

    @property
    def for_ever(self) -> bool:
        """Whether nothing is ever deleted."""
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
    after: str | None = None,
    but: tuple[str, str] | None = None,
    rows: int = ROWS,
    rest: float = REST,
) -> AsyncIterator[Stretch]:
    """Walk over all records by id and, with ``delete``, delete the prunable ones → each stretch.

    With ``delete``, the counts of a stretch are those of the records that were deleted. Ids in the
    range ``but`` are skipped.
    """
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        stretch = await store.survey(prunable, after=after, limit=rows)
        if delete and stretch.last_id is not None and any(stretch.prunable.values()):
            gone = await store.prune(prunable, after=after, to=stretch.last_id)
            stretch = Stretch(stretch.last_id, stretch.rows, Counter(gone.values()))
        took = loop.time() - began
        yield stretch
        if stretch.rows < rows:
            return
        after = stretch.last_id
        # An id that isn't text sorts behind all texts.
        if but is not None and isinstance(after, str) and but[0] <= after < but[1]:
            after = but[1]
        await asyncio.sleep(rest * took)


class Retention:
    """Prunes one database from time to time, for a backend."""

    def __init__(self, store: Store, keep: Keep) -> None:
        self._store = store
        self._keep = keep
        self._after: str | None = None

    async def run(self, interval: float) -> None:
        """Run one pass per interval, until cancelled. A database error ends the pass only."""
        # At random, so that the workers of a deployment don't all walk at once.
        await asyncio.sleep(random.uniform(0, interval))
        while True:
            try:
                await self.run_pass()
            except DatabaseError as error:
                _log.warning("pruning has to wait: %s", error)
            except Exception:  # noqa: BLE001 - a worker that prunes nothing still works
                _log.exception("pruning failed by a bug, trying again")
            await asyncio.sleep(random.uniform(0.5, 1.5) * interval)

    async def run_pass(self) -> Counter[JobStatus]:
        """Delete records that were kept for long enough → how many of each status.

        If a pass is interrupted, the next one continues it.
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
            self._after = None
        finally:
            if any(gone.values()):
                _report(gone)
        return +gone


def _too_young(prunable: Prunable, now: datetime) -> tuple[str, str]:
    """Return the range of ids whose jobs are too young to be pruned.

    Some older jobs may have ids in that range: ids that aren't UUIDv7, ids made by a clock that is
    ahead, and ids of thousands of jobs made at once, which run into the coming milliseconds. Those
    are pruned later.
    """
    return _first_id(max(prunable.before.values())), _first_id(now + AHEAD)


def _first_id(moment: datetime) -> str:
    """Return the lowest UUIDv7 of that millisecond."""
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
