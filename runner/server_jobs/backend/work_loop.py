"""What backends that execute in their own process do again and again: claim, execute, settle."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time

from server_jobs.backend.base import BaseWorkerBackend
from server_jobs.backend.protocol import WorkerBackendConfig
from server_jobs.database import Database
from server_jobs.definition.held import Held
from server_jobs.errors import DatabaseError, SchemaError
from server_jobs.execution.group_commit import GroupCommit, Over
from server_jobs.execution.lease_keeper import LeaseKeeping
from server_jobs.records.outcomes import Completed, Outcome
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import Claim, ClaimedJob
from server_jobs.registry import JobRegistry

_log = logging.getLogger("server_jobs.worker")

DOUBT_SECONDS = 60.0
"""For how long after an outage a claim may turn up that the database was still busy with."""


class WorkLoop(BaseWorkerBackend):
    """Claims in batches as slots free up, and settles in groups, in the same commit.

    Its subclasses say when there is to be another cycle, and when the last one; what they are
    told on the way, they count and log.
    """

    def __init__(
        self,
        *,
        database: Database,
        job_registry: JobRegistry,
        config: WorkerBackendConfig,
        worker_id: str | None = None,
        keeping: LeaseKeeping | None = None,
    ) -> None:
        super().__init__(
            database=database,
            job_registry=job_registry,
            config=config,
            worker_id=worker_id,
            keeping=keeping,
        )
        self._running: dict[asyncio.Task[None], ClaimedJob] = {}
        self._ended = GroupCommit(self.store)
        self._news = asyncio.Event()
        self._hungry: set[str] = set()
        self._doubtful = False
        self._doubt_ends = -math.inf
        self._broken: BaseException | None = None

    @property
    def running(self) -> list[ClaimedJob]:
        """The jobs whose handlers run; after the end, those whose handlers didn't stop."""
        return list(self._running.values())

    # ── what subclasses say, and are told ────────────────────────────────────────────────────

    def _free(self) -> int:
        """How many jobs may be claimed now."""
        return self.config.concurrency - len(self._running)

    def _begun(self, job: ClaimedJob) -> None:
        """A job was claimed, and its handler is about to begin."""

    def _has_ended(self, job: ClaimedJob, outcome: Outcome, began: float) -> Outcome:
        """A handler that began then, by the monotonic clock, has ended so → what is written."""
        return outcome

    def _settled(self, claim: Claim, over: Over) -> None:
        """What had ended is written, or lost."""

    def _lost(self, job: ClaimedJob, began: float) -> None:
        """A lease was lost, and the handler is stopped."""

    def _broke_off(self, job: ClaimedJob, error: BaseException) -> None:
        """An execution ended by no handler's exception: the platform's, or a bug of ours."""

    # ── the cycle ────────────────────────────────────────────────────────────────────────────

    async def _cycle(self, request: ClaimRequest | None) -> None:
        """Settle what has ended and claim the next, in one commit."""
        if self._doubtful:
            await self._recover()
        if request is not None:
            # Before the question: news that arrives while it is asked must not be forgotten.
            self._hungry.discard(request.queue)
        settled, claimed = await self._ended.commit(request)
        for claim, over in settled.items():
            self.leases.drop(claim)
            self._settled(claim, over)
            if over.status is None:
                _log.warning("job %s: the lease was lost, its outcome is refused", claim.job_id)
            elif not isinstance(over.outcome, Completed):
                self._all_hungry()  # it may be due again at once, and nothing announces that
        if request is not None and len(claimed) == request.limit:
            self._hungry.add(request.queue)
        for job in claimed:
            self._begin(job)

    def _next_claim(self) -> ClaimRequest | None:
        """A claim for the free slots, from the next queue that may have something."""
        free = self._free()
        if free <= 0:
            return None
        for queue in self._rotation.order():
            if queue in self._hungry:
                # The turn passes to the next one: else its neighbour gets an idle queue's turns.
                self._rotation.begin_after(queue)
                return self.claim_of(queue, free)
        return None

    def _begin(self, job: ClaimedJob) -> None:
        _log.debug("job %s (%s) begins attempt %d", job.id, job.job_name, job.attempt_count)
        self._begun(job)
        held = self.leases.hold(job)
        task = asyncio.create_task(self._execute_one(job, held))
        self._running[task] = job
        task.add_done_callback(self._one_ended)

    async def _execute_one(self, job: ClaimedJob, held: Held) -> None:
        began = time.monotonic()
        outcome = await self.run(job, held)
        if outcome is None or self.leases.get(job.id) is not held:
            self.leases.drop(held.claim)
            self._lost(job, began)
        else:
            outcome = self._has_ended(job, outcome, began)
            self._ended.add(held.claim, outcome, held.unwritten_progress)

    def _one_ended(self, task: asyncio.Task[None]) -> None:
        job = self._running.pop(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            self.leases.drop(job.claim)  # left to expire: nobody knows what was done
        if error is not None:
            self._broke_off(job, error)
        self._news.set()

    def _all_hungry(self) -> None:
        """Every queue may have something."""
        self._hungry = set(self.config.queues)
        self._news.set()

    # ── after an outage ──────────────────────────────────────────────────────────────────────

    def _doubt(self) -> None:
        """After an outage we may hold what we don't know of: now, or once the database is done
        with a statement whose connection broke.
        """
        self._doubtful = True
        self._doubt_ends = time.monotonic() + DOUBT_SECONDS

    @property
    def _in_doubt(self) -> bool:
        return self._doubtful or time.monotonic() < self._doubt_ends

    async def _recover(self) -> None:
        """Only between two commits of ours: whatever a claim brought is held by then."""
        if await self.give_back_unknown():
            self._all_hungry()
        self._doubtful = False

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _settle_until(self, seconds: float) -> None:
        """Settle what ends, until nothing runs any more, or time is up, or there is no more."""
        deadline = time.monotonic() + seconds
        while self._running or self._ended or self._doubtful:
            if self._ended or self._doubtful:
                try:
                    await self._cycle(None)
                    continue
                except (DatabaseError, SchemaError) as error:
                    _log.warning("can't settle what has ended just now: %s", error)
                    await asyncio.sleep(0.2)
            left = deadline - time.monotonic()
            if left <= 0 or self._enough():
                return
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, 0.5)):
                    await self._news.wait()

    def _enough(self) -> bool:
        """Whether what still runs is waited for no longer."""
        return False
