"""Holding jobs: heartbeats, progress and cancellation, for all that one process runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sys
import threading
from dataclasses import dataclass
from types import TracebackType

from server_jobs.definition.held import Held
from server_jobs.definition.stop_request import StopReason
from server_jobs.errors import DatabaseError, SchemaError
from server_jobs.records.rows import Claim, ClaimedJob
from server_jobs.store.store import Store

_log = logging.getLogger("server_jobs.leases")

TICK_SECONDS = 0.5
"""How often progress is written and, if nothing else is said, cancellations are looked for."""

HAS_THREADS = sys.platform not in {"emscripten", "wasi"}
"""WebAssembly has none to start."""


@dataclass(frozen=True, slots=True)
class LeaseKeeping:
    """How often a lease keeper does what, in seconds, and where."""

    tick_seconds: float = TICK_SECONDS
    """How often progress is written."""
    look_seconds: float = 0.0
    """How often requested cancellations are looked for: at each tick by default."""
    on_thread: bool = HAS_THREADS
    """Whether on a thread of its own. Otherwise a task of the caller's event loop does it."""


class LeaseKeeper:
    """Keeps the leases of all jobs that are held under one worker id.

    As an ``async with`` block it works on a thread with an event loop of its own, so that a handler
    that blocks the worker's loop keeps its lease. Without threads it is a task of the loop that
    entered the block. Each third of a lease it renews them all, which also tells it of requested
    cancellations; ``keeping`` says how often it looks for those in between.
    """

    def __init__(
        self,
        store: Store,
        *,
        worker_id: str,
        lease_seconds: float,
        keeping: LeaseKeeping | None = None,
    ) -> None:
        self._store = store
        self.worker_id = worker_id
        self._lease_seconds = lease_seconds
        self._keeping = keeping or LeaseKeeping()
        self._task: asyncio.Task[None] | None = None
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()

    def hold(self, job: ClaimedJob) -> Held:
        """Begin to keep a claimed job's lease.

        An older claim of the same job (we slept, it expired, it came back to us) has lost its own.
        """
        held = Held(job.claim)
        with self._lock:
            older = self._held.get(job.id)
            self._held[job.id] = held
        if older is not None:
            older.stop_request.make(StopReason.LEASE_LOST)
        return held

    def drop(self, claim: Claim) -> None:
        """Stop keeping this lease, and no newer one: the job is settled, or lost."""
        with self._lock:
            held = self._held.get(claim.job_id)
            if held is not None and held.claim == claim:
                del self._held[claim.job_id]

    def get(self, job_id: str) -> Held | None:
        """What is held under that id."""
        return self._held.get(job_id)

    @property
    def all(self) -> list[Held]:
        """Everything that is held."""
        with self._lock:
            return list(self._held.values())

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that keeps, where it is no thread: it should end when it is told to, only."""
        return self._task

    async def __aenter__(self) -> LeaseKeeper:
        self._stopped.clear()
        if not self._keeping.on_thread:
            self._wake = asyncio.Event()
            self._task = asyncio.create_task(self._keep_later(), name="leases")
            return self
        self._thread = threading.Thread(target=self._run, name="server-jobs-leases", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: it has stopped already
                self._loop.call_soon_threadsafe(self._wake.set)
        task, self._task = self._task, None
        if task is not None:
            await task
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(0.1)
            if thread.is_alive():
                # It is in the middle of a statement; what it uses must outlive it.
                await asyncio.to_thread(thread.join)

    def _run(self) -> None:
        # Most handlers are over before there is anything to keep: no event loop for those.
        if not self._stopped.wait(self._keeping.tick_seconds):
            asyncio.run(self.keep())

    async def _keep_later(self) -> None:
        self._loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._keeping.tick_seconds):
                await self._wake.wait()
        await self.keep()

    def abandon(self) -> None:
        """Keep nothing any more, here and now: what is held is left to expire."""
        self._stopped.set()
        with self._lock:
            self._held.clear()
        if self._task is not None:
            self._task.cancel()

    async def keep(self) -> None:
        """Renew, report and listen until stopped."""
        self._wake = asyncio.Event()
        self._loop = loop = asyncio.get_running_loop()
        interval = self._lease_seconds / 3
        renewed_at = looked_at = -math.inf
        while not self._stopped.is_set():
            try:
                if self._held:
                    if loop.time() - renewed_at >= interval:
                        await self._renew()
                        renewed_at = looked_at = loop.time()
                    elif loop.time() - looked_at >= self._keeping.look_seconds:
                        await self._find_cancellations()
                        looked_at = loop.time()
                    await self._write_progress()
            except (DatabaseError, SchemaError) as error:
                # The leases outlive a short outage; what expires meanwhile comes back as lost.
                _log.warning("leases can't be renewed just now: %s", error)
            except Exception:  # noqa: BLE001 - without us, every handler here would lose its lease
                _log.exception("keeping leases went wrong, trying again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._keeping.tick_seconds, interval)):
                    await self._wake.wait()

    async def _write_progress(self) -> None:
        keeping = self.all
        reports = {
            held.claim: held.unwritten_progress for held in keeping if held.unwritten_progress
        }
        if not reports:
            return
        # Until it is there it counts as unwritten: the settlement of a job that ends meanwhile may
        # overtake us, and must carry it.
        await self._store.report_progress(reports)
        for held in keeping:
            if held.claim in reports:
                held.has_written(reports[held.claim])

    async def _renew(self) -> None:
        keeping = self.all
        still_held = await self._store.heartbeat(
            [held.claim for held in keeping], lease_seconds=self._lease_seconds
        )
        for held in keeping:
            cancel_requested = still_held.get(held.claim.job_id)
            if cancel_requested is None:
                # Not if it was settled, and so dropped, while the heartbeat was under way.
                if self.get(held.claim.job_id) is held:
                    held.stop_request.make(StopReason.LEASE_LOST)
            elif cancel_requested:
                held.stop_request.make(StopReason.CANCELLED)

    async def _find_cancellations(self) -> None:
        for claim in await self._store.cancel_requests(self.worker_id):
            held = self.get(claim.job_id)
            if held is not None and held.claim == claim:
                held.stop_request.make(StopReason.CANCELLED)
