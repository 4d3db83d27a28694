"""Ends a job that doesn't end by itself."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time

from server_jobs.deadline import leave_now
from server_jobs.definition.stop_request import StopReason
from server_jobs.errors import DatabaseError
from server_jobs.execution.execution import Execution
from server_jobs.execution.group_commit import settle_alone
from server_jobs.launches.end_request import EndRequest
from server_jobs.records.outcomes import Outcome
from server_jobs.records.rows import ClaimedJob
from server_jobs.store.store import Store

_log = logging.getLogger("server_jobs.runner")

_LOOK_SECONDS = 0.25

_LAST_TRY_SECONDS = 8.0
"""How long it may take to settle the record of a handler that is left behind."""


class Watchdog:
    """Makes sure, within its block, that the job ends in time, whatever its handler does.

    It asks the handler to stop at the job's time limit, and when a signal has come. A handler that
    was asked to stop, for any reason, has ``grace`` seconds. After that the watchdog settles the
    record without it and ends the process. Once the handler has ended, its outcome is the one
    that is written, and only a signal limits how long that may take.

    It is a thread, since a handler may block the event loop and everything on it.
    """

    def __init__(
        self,
        store: Store,
        job: ClaimedJob,
        execution: Execution,
        end_request: EndRequest,
        *,
        grace: float,
    ) -> None:
        self._store = store
        self._job = job
        self._execution = execution
        self._end_request = end_request
        self._grace = grace
        self._over = threading.Event()
        self._ended: tuple[Outcome | None] | None = None

    def handler_has_ended(self, outcome: Outcome | None) -> None:
        """Note that the handler has ended, which it may take long to write during an outage."""
        self._ended = (outcome,)

    def __enter__(self) -> None:
        self._end_request.end_within(self._grace + _LAST_TRY_SECONDS)
        threading.Thread(target=self._watch, name="server-jobs-watchdog", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        stop = self._execution.held.stop_request
        limit = math.inf if self._job.timeout_seconds is None else self._job.timeout_seconds
        began = time.monotonic()
        asked_at = math.inf
        while not self._over.wait(_LOOK_SECONDS):
            now = time.monotonic()
            asked = self._end_request.asked
            if self._ended is None:
                if asked:
                    stop.make(StopReason.SHUTDOWN)
                elif now - began > limit:
                    stop.make(StopReason.TIMED_OUT)  # the loop may be blocked, and its timer too
                asked = stop.reason is not None
            asked_at = min(asked_at, now) if asked else math.inf
            if now - asked_at > self._grace:
                return self._leave()

    def _leave(self) -> None:
        if self._ended is None:
            _log.warning("job %s doesn't stop: leaving without it", self._job.id)
        else:
            _log.warning("job %s isn't settled yet: leaving after a last try", self._job.id)
        status = 1
        try:
            outcome = self._execution.stopped() if self._ended is None else self._ended[0]
            if outcome is not None:
                asyncio.run(settle_alone(self._store, self._execution.held, outcome))
            status = 0
        except DatabaseError as error:
            _log.error("job %s can't be settled: %s", self._job.id, error)
        finally:
            leave_now(status)
