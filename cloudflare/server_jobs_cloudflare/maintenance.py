"""What a tick does before it claims, for all jobs and schedules, also those of other backends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from server_jobs.backend.base import BaseWorkerBackend
from server_jobs.errors import DatabaseError, SchemaError
from server_jobs.records.text import message_of
from server_jobs_cloudflare.summary import TickSummary

_log = logging.getLogger("server_jobs.edge")

STEP_SECONDS = 10.0
"""How long each step may wait for the database, in seconds."""


class Maintenance:
    """Stages, rescues, declares schedules and fires them. If a step fails, the others still run.

    ``declared`` says whether the registry's schedules were written.
    """

    def __init__(self, backend: BaseWorkerBackend, summary: TickSummary, *, prune: bool) -> None:
        self._backend = backend
        self._summary = summary
        self._prune = prune
        self.declared = False

    async def run(self, *, declare: bool, left: Callable[[], float]) -> None:
        """Run the steps one by one. A step that fails is left to the next tick, in a minute.

        ``declare`` includes the third step. ``left`` returns how many seconds the tick may go on.
        Raises SchemaError.
        """
        steps: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("staging", self._stage),
            ("rescuing", self._rescue),
            ("declaring schedules", self._declare),
            ("firing schedules", self._fire),
        ]
        for what, step in steps:
            if step == self._declare and not declare:
                continue
            try:
                async with asyncio.timeout(min(left(), STEP_SECONDS)):
                    await step()
            except (DatabaseError, TimeoutError) as error:
                _log.warning("%s has to wait for the next tick: %s", what, message_of(error))
            except SchemaError:
                raise
            except Exception:  # noqa: BLE001 - what one step can't do, the others still can
                _log.exception("%s failed by a bug, trying again in the next tick", what)

    async def _stage(self) -> None:
        self._summary.staged = await self._backend.store.stage(self._backend.config.queues)

    async def _rescue(self) -> None:
        self._summary.rescued = await self._backend.handle_expired_locks()

    async def _declare(self) -> None:
        await self._backend.declare_schedules(prune=self._prune)
        self.declared = True

    async def _fire(self) -> None:
        self._summary.fired = len((await self._backend.fire_schedules()).job_ids)
