"""What a long-running worker does beside its loop, for all jobs and schedules of its tables."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

from server_jobs.backend.base import BaseWorkerBackend
from server_jobs.backend.work_loop import WorkLoop
from server_jobs.errors import DatabaseError, DatabaseUnavailableError, SchemaError
from server_jobs.records.text import message_of
from server_jobs.store.store import STAGE_LIMIT

_log = logging.getLogger("server_jobs.worker")

MAINTENANCE_SECONDS = 1.0
"""How often due jobs are staged, expired leases rescued and schedules fired."""


LONGEST_PAUSE_SECONDS = 30.0
"""How long a part of the upkeep that keeps failing is left alone at most."""


class Chore:
    """A part of the upkeep. It is tried again if it fails, and keeps no other part from its turn.

    After each failure in a row it is left alone twice as long, and so is the log. A database that
    is away is asked again at once, since it may be back.
    """

    def __init__(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        self._what = what
        self._work = work
        self._failures = 0
        self._rests_until = -math.inf
        self._quiet_until = -math.inf

    async def do(self) -> None:
        """Do it, unless it rests after a failure. Raises SchemaError."""
        if time.monotonic() < self._rests_until:
            return
        try:
            await self._work()
        except SchemaError:
            raise
        except Exception as error:  # noqa: BLE001 - what one part can't do, the others still can
            self._has_failed(error)
        else:
            self._failures = 0

    def _has_failed(self, error: Exception) -> None:
        self._failures += 1
        now = time.monotonic()
        pause = min(MAINTENANCE_SECONDS * 2.0 ** min(self._failures, 10), LONGEST_PAUSE_SECONDS)
        if not isinstance(error, DatabaseUnavailableError):
            self._rests_until = now + pause
        if self._failures == 1 or now >= self._quiet_until:
            self._quiet_until = now + pause
            of_database = isinstance(error, DatabaseError)
            _log.log(
                logging.WARNING if of_database else logging.ERROR,
                "%s has to wait: %s",
                self._what,
                message_of(error),
                exc_info=None if of_database else error,
            )


class Upkeep:
    """Wakes a work loop when there may be jobs, stages, rescues and fires schedules.

    ``rescued`` is called with the number of jobs of each rescue. Each method goes on until it is
    cancelled, and waits out a database that fails.
    """

    def __init__(
        self, backend: BaseWorkerBackend, loop: WorkLoop, rescued: Callable[[int], None]
    ) -> None:
        self._backend = backend
        self._loop = loop
        self._rescued = rescued

    async def listen(self, poll_interval: float) -> None:
        """Have all queues asked whenever the database changed, and at the latest each interval."""
        while True:
            await self._backend.store.database.wait_for_change(poll_interval)
            self._loop.ask_all_queues()

    async def maintain(self) -> None:
        """Stage due jobs, rescue jobs whose lease has expired, and look for unanswered claims."""
        staging = Chore("staging", self._stage)
        rescuing = Chore("rescuing", self._rescue)
        while True:
            await staging.do()
            await rescuing.do()
            self._loop.look_again()
            await asyncio.sleep(MAINTENANCE_SECONDS)

    async def fire_schedules(self) -> None:
        """Make the jobs of due schedules."""
        firing = Chore("firing schedules", self._fire)
        while True:
            await firing.do()
            await asyncio.sleep(MAINTENANCE_SECONDS)

    async def _fire(self) -> None:
        if (await self._backend.fire_schedules()).job_ids:
            self._loop.ask_all_queues()

    async def _stage(self) -> None:
        staged = STAGE_LIMIT
        while staged >= STAGE_LIMIT:
            staged = await self._backend.store.stage(self._backend.config.queues)
            if staged:
                self._loop.ask_all_queues()

    async def _rescue(self) -> None:
        rescued = await self._backend.store.rescue()
        self._rescued(len(rescued))
        for job_id, settled in rescued.items():
            _log.warning("job %s: its lease expired; it is %s now", job_id, settled.status)
        if rescued:
            self._loop.ask_all_queues()
