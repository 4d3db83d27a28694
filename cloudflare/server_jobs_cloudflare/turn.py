"""Whose turn it is to claim: of ticks so long that the next ones come while they last, one's."""

from __future__ import annotations

import logging

from server_jobs.database import Database
from server_jobs.errors import DatabaseError, SchemaError
from server_jobs.records.text import message_of
from server_jobs.store.named_lease import NamedLease
from server_jobs_cloudflare.config import EdgeConfig

_log = logging.getLogger("server_jobs.edge")


class Turn:
    """A short tick's turn is always; a long one's is while it has the lease of its queues.

    It is let go of once the tick claims no more. After a tick that was killed it expires when
    that one would have stopped claiming.
    """

    def __init__(self, database: Database, holder: str, config: EdgeConfig) -> None:
        name = f"tick of {', '.join(sorted(set(config.queues)))}"
        self._lease = NamedLease(database, name, holder) if config.takes_turns else None
        self._seconds = config.claiming_seconds
        self._ours = False

    async def take(self) -> bool:
        """Whether it is ours to claim. Raises DatabaseError, and SchemaError for old tables."""
        if self._lease is None:
            return True
        self._ours = await self._lease.take(self._seconds)
        return self._ours

    async def let_go(self) -> None:
        """It may be another's now; where that can't be written, it expires."""
        if self._lease is None or not self._ours:
            return
        self._ours = False
        try:
            await self._lease.let_go()
        except (DatabaseError, SchemaError) as error:
            _log.warning("the next tick has to wait for this one's turn: %s", message_of(error))
