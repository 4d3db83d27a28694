"""What a long-running worker does beside its loop, for all jobs and schedules of its tables."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from server_jobs.backend.base import BaseWorkerBackend
from server_jobs.backend.work_loop import WorkLoop
from server_jobs.errors import DatabaseError
from server_jobs.store.store import STAGE_LIMIT

_log = logging.getLogger("server_jobs.worker")

MAINTENANCE_SECONDS = 1.0
"""How often due jobs are staged, expired leases rescued and schedules fired."""


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
        while True:
            try:
                await self._stage()
                await self._rescue()
            except DatabaseError as error:
                _log.warning("maintenance has to wait: %s", error)
            self._loop.look_again()
            await asyncio.sleep(MAINTENANCE_SECONDS)

    async def fire_schedules(self) -> None:
        """Make the jobs of due schedules."""
        while True:
            try:
                if (await self._backend.fire_schedules()).job_ids:
                    self._loop.ask_all_queues()
            except DatabaseError as error:
                _log.warning("schedules have to wait: %s", error)
            await asyncio.sleep(MAINTENANCE_SECONDS)

    async def _stage(self) -> None:
        staged = STAGE_LIMIT
        while staged == STAGE_LIMIT:
            staged = await self._backend.store.stage()
            if staged:
                self._loop.ask_all_queues()

    async def _rescue(self) -> None:
        rescued = await self._backend.store.rescue()
        self._rescued(len(rescued))
        for job_id, settled in rescued.items():
            _log.warning("job %s: its lease expired; it is %s now", job_id, settled.status)
        if rescued:
            self._loop.ask_all_queues()
