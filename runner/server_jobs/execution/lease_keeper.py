"""Keeps the leases of all jobs that one process executes: heartbeats, progress, cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sys
import threading
from dataclasses import dataclass

from server_jobs.definition.held import Held
from server_jobs.definition.stop_request import StopReason
from server_jobs.errors import StoreError
from server_jobs.execution.own_task import OwnTask
from server_jobs.records.names import check_worker_id
from server_jobs.records.rows import Claim, ClaimedJob
from server_jobs.store.store import Store

_log = logging.getLogger("server_jobs.leases")

TICK_SECONDS = 0.5
"""How often progress is written and cancellations are looked for, unless configured otherwise."""

HAS_THREADS = sys.platform not in {"emscripten", "wasi"}
"""Whether the platform can start threads. WebAssembly can't."""


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
        """Raises ConfigurationError where no row could hold ``worker_id``."""
        check_worker_id(worker_id)
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
        """Begin to keep a claimed job's lease → the job as its holder sees it.

        If an older claim of the same job is held, its lease has been lost: the process slept, the
        lease expired, and the job came back to the same worker. That handler is asked to stop.
        """
        held = Held(job.claim)
        with self._lock:
            older = self._held.get(job.id)
            self._held[job.id] = held
        if older is not None:
            older.stop_request.make(StopReason.LEASE_LOST)
        return held

    def drop(self, claim: Claim) -> None:
        """Stop keeping this lease, since its job is settled or lost. A newer one is kept on."""
        with self._lock:
            held = self._held.get(claim.job_id)
            if held is not None and held.claim == claim:
                del self._held[claim.job_id]

    def get(self, job_id: str) -> Held | None:
        """Return the job of that id as its holder sees it; None where it isn't held here."""
        return self._held.get(job_id)

    @property
    def all(self) -> list[Held]:
        """All jobs that are held."""
        with self._lock:
            return list(self._held.values())

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that keeps the leases where no thread does. It ends only when it is told to."""
        return self._task

    async def __aenter__(self) -> LeaseKeeper:
        self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    def start(self) -> None:
        """Begin to renew, on a thread or as a task of the running event loop."""
        self._stopped.clear()
        if self._keeping.on_thread:
            thread = threading.Thread(target=self._run, name="server-jobs-leases", daemon=True)
            # At its end, the interpreter starts no thread any more for what atexit has left to do.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread
                return
        self._wake = asyncio.Event()
        self._task = OwnTask(self._keep_later(), name="leases")

    async def stop(self) -> None:
        """Renew no more, and wait until the thread or the task has ended."""
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
        """Keep nothing any more, without waiting for anything: the leases are left to expire."""
        self._stopped.set()
        with self._lock:
            self._held.clear()
        if self._task is not None:
            self._task.cancel()

    async def keep(self) -> None:
        """Renew leases, write progress and find cancellations, in this task, until stopped."""
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
            except StoreError as error:
                # The leases outlive a short outage; the next renewal shows which have expired.
                _log.warning("leases can't be renewed just now: %s", error)
            except Exception:  # noqa: BLE001 - without us, every handler here would lose its lease
                _log.exception("keeping the leases failed by a bug, trying again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._keeping.tick_seconds, interval)):
                    await self._wake.wait()

    async def _write_progress(self) -> None:
        jobs = self.all
        reports = {held.claim: held.unwritten_progress for held in jobs if held.unwritten_progress}
        if not reports:
            return
        # Until the answer it counts as unwritten: the job may end and be settled before this
        # statement, and must then be settled with it.
        await self._store.report_progress(reports)
        for held in jobs:
            if held.claim in reports:
                held.has_written(reports[held.claim])

    async def _renew(self) -> None:
        jobs = self.all
        still_held = await self._store.heartbeat(
            [held.claim for held in jobs], lease_seconds=self._lease_seconds
        )
        for held in jobs:
            cancel_requested = still_held.get(held.claim.job_id)
            if cancel_requested is None:
                # Unless it was settled, and so dropped, while the heartbeat was under way.
                if self.get(held.claim.job_id) is held:
                    held.stop_request.make(StopReason.LEASE_LOST)
            elif cancel_requested:
                held.stop_request.make(StopReason.CANCELLED)

    async def _find_cancellations(self) -> None:
        for claim in await self._store.cancel_requests(self.worker_id):
            held = self.get(claim.job_id)
            if held is not None and held.claim == claim:
                held.stop_request.make(StopReason.CANCELLED)
