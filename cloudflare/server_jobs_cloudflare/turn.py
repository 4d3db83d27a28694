"""Long ticks overlap with the next ones. They take turns in claiming, by a lease on a name."""

from __future__ import annotations

import logging

from server_jobs.database import Database
from server_jobs.errors import StoreError
from server_jobs.records.text import message_of
from server_jobs.store.named_lease import NamedLease
from server_jobs_cloudflare.config import EdgeConfig

_log = logging.getLogger("server_jobs.edge")


class Turn:
    """The right of a tick to claim. Short ticks always have it.

    A long tick needs the lease on its queues' names, and lets go of it when it claims no more. The
    lease of a tick that was killed expires when that tick would have stopped claiming.
    """

    def __init__(self, database: Database, holder: str, config: EdgeConfig) -> None:
        name = f"tick of {', '.join(sorted(set(config.queues)))}"
        self._lease = NamedLease(database, name, holder) if config.takes_turns else None
        self._seconds = config.claiming_seconds
        self._ours = False

    async def take(self) -> bool:
        """Try to take the turn → whether this tick may claim.

        Raises DatabaseError, and SchemaError where the tables are of an older release.
        """
        if self._lease is None:
            return True
        self._ours = await self._lease.take(self._seconds)
        return self._ours

    async def let_go(self) -> None:
        """Give up the turn. Where that can't be written, the lease expires."""
        if self._lease is None or not self._ours:
            return
        self._ours = False
        try:
            await self._lease.let_go()
        except StoreError as error:
            _log.warning(
                "the turn can't be given up; the next tick waits until its lease expires: %s",
                message_of(error),
            )
