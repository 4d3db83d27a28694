"""The loop of backends that execute in their own process: claim, execute, settle, and so on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

from server_jobs.backend.base import BaseWorkerBackend
from server_jobs.backend.rotation import QueueRotation
from server_jobs.definition.held import Held
from server_jobs.errors import StoreError
from server_jobs.execution.group_commit import GroupCommit, Over
from server_jobs.records.attempt_error import INVALID_ROW, AttemptError
from server_jobs.records.outcomes import Completed, Failed, Outcome
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import Claim, ClaimedJob
from server_jobs.records.text import message_of

_log = logging.getLogger("server_jobs.worker")

DOUBT_SECONDS = 60.0
"""For how long after an outage a claim may still be committed: the database may have been busy with
it when the connection broke.
"""


class WorkObserver(Protocol):
    """Is told by a work loop what becomes of its jobs.

    Every method is called on the event loop's thread, and should neither block nor raise.
    """

    def job_began(self, job: ClaimedJob) -> None:
        """A job was claimed, and its handler is about to begin."""

    def job_ended(self, job: ClaimedJob, outcome: Outcome, seconds: float) -> None:
        """A handler ran for so long, and its outcome waits to be settled."""

    def job_settled(self, claim: Claim, over: Over) -> None:
        """An outcome was written, or refused because the lease was lost."""

    def lease_lost(self, job: ClaimedJob, seconds: float) -> None:
        """The lease was lost while the handler ran, which was stopped. Nothing is written."""

    def execution_broke(self, job: ClaimedJob, error: BaseException) -> None:
        """An execution ended by an exception that isn't its handler's: the platform's, or a bug."""


class WorkLoop:
    """Claims jobs for a backend as slots become free, executes them, and settles them in groups.

    One commit settles everything that has ended and claims the next jobs. The loop doesn't run by
    itself: its user calls ``cycle`` as long as there is to be another one, awaits ``news`` in
    between, and at the end calls ``settle_until_idle``.
    """

    def __init__(self, backend: BaseWorkerBackend, observer: WorkObserver) -> None:
        self._backend = backend
        self._observer = observer
        self._running: dict[asyncio.Task[None], ClaimedJob] = {}
        self._outcomes = GroupCommit(backend.store)
        self._rotation = QueueRotation(backend.config.queues)
        # The queues that may have due jobs. A claim that comes back less than full empties one.
        self._to_ask = set(backend.config.queues)
        self._news = asyncio.Event()
        self._must_recover = False
        self._doubt_ends = -math.inf

    @property
    def running(self) -> list[ClaimedJob]:
        """The jobs whose handlers run; after the end, those whose handlers didn't stop."""
        return list(self._running.values())

    @property
    def has_outcomes(self) -> bool:
        """Whether a handler has ended whose outcome isn't settled yet."""
        return bool(self._outcomes)

    @property
    def needs_cycle(self) -> bool:
        """Whether a cycle has something to do even if it claims nothing."""
        return bool(self._outcomes) or self._must_recover

    @property
    def has_queues_to_ask(self) -> bool:
        """Whether a queue may have due jobs, so that another claim is worth its statement."""
        return bool(self._to_ask)

    # ── news ─────────────────────────────────────────────────────────────────────────────────

    async def news(self) -> None:
        """Wait until something happens that may call for another cycle."""
        await self._news.wait()
        self._news.clear()

    def wake(self) -> None:
        """End the wait for news."""
        self._news.set()

    def ask_all_queues(self) -> None:
        """Let the next cycles claim from every queue: each may have due jobs. This is news."""
        self._to_ask = set(self._backend.config.queues)
        self._news.set()

    # ── the cycle ────────────────────────────────────────────────────────────────────────────

    def next_claim(self, most: int | None = None) -> ClaimRequest | None:
        """Return a claim for the free slots, at most so many, from the next queue to be asked.

        None means that there is no free slot or no queue to ask.
        """
        free = self._backend.config.concurrency - len(self._running)
        if most is not None:
            free = min(free, most)
        if free <= 0:
            return None
        for queue in self._rotation.order():
            if queue in self._to_ask:
                # Not the one behind the last start: it would get the turns of all idle queues.
                self._rotation.begin_after(queue)
                return self._backend.claim_of(queue, free)
        return None

    async def cycle(self, request: ClaimRequest | None) -> None:
        """Settle everything that has ended and claim the next jobs, in one commit, and begin them.

        Raises StoreError. What has ended is then settled by a later cycle.
        """
        if self._must_recover:
            await self.recover()
        if request is not None:
            # Before the claim: what is enqueued while it is under way must not be forgotten.
            self._to_ask.discard(request.queue)
        settled, claimed = await self._outcomes.commit(request)
        for claim, over in settled.items():
            self._backend.leases.drop(claim)
            self._observer.job_settled(claim, over)
            if over.status is None:
                _log.warning("job %s: the lease was lost, its outcome is refused", claim.job_id)
            elif not isinstance(over.outcome, Completed):
                self.ask_all_queues()  # it may be due again at once, and nothing announces that
        if request is not None and len(claimed) == request.limit:
            self._to_ask.add(request.queue)
        for job in claimed:
            try:
                self._begin(job)
            except Exception as error:  # noqa: BLE001 - the rest of the batch has been claimed, too
                self._fail_to_begin(job, error)

    def _fail_to_begin(self, job: ClaimedJob, error: Exception) -> None:
        """Settle a job that was claimed, and whose execution can't even begin."""
        _log.error("job %s: its execution can't begin", job.id, exc_info=error)
        problem = AttemptError.new(
            INVALID_ROW,
            f"the execution can't begin: {type(error).__name__}: {message_of(error)}",
            attempt=job.attempt_count,
            worker=job.worker_id,
        )
        self._outcomes.add(job.claim, Failed(problem, permanent=True))

    def _begin(self, job: ClaimedJob) -> None:
        _log.debug("job %s (%s) begins attempt %d", job.id, job.job_name, job.attempt_count)
        self._observer.job_began(job)
        task = asyncio.create_task(self._execute(job, self._backend.leases.hold(job)))
        self._running[task] = job
        task.add_done_callback(self._execution_over)

    async def _execute(self, job: ClaimedJob, held: Held) -> None:
        began = time.monotonic()
        outcome = await self._backend.run(job, held)
        seconds = time.monotonic() - began
        if outcome is None or self._backend.leases.get(job.id) is not held:
            self._backend.leases.drop(held.claim)
            self._observer.lease_lost(job, seconds)
        else:
            self._observer.job_ended(job, outcome, seconds)
            self._outcomes.add(held.claim, outcome, held.unwritten_progress)

    def _execution_over(self, task: asyncio.Task[None]) -> None:
        """A task's callback: free its slot."""
        job = self._running.pop(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            self._backend.leases.drop(job.claim)  # left to expire: nobody knows what was done
        if error is not None:
            self._observer.execution_broke(job, error)
        self._news.set()

    # ── after an outage ──────────────────────────────────────────────────────────────────────

    @property
    def in_doubt(self) -> bool:
        """Whether the table may have jobs of ours whose claim was never answered."""
        return self._must_recover or time.monotonic() < self._doubt_ends

    def doubt(self) -> None:
        """Note that a claim may have been committed, or may still be, whose answer is lost.

        The next cycle recovers from that, then any after ``look_again``, for a minute. All queues
        are asked anew.
        """
        self._must_recover = True
        self._doubt_ends = time.monotonic() + DOUBT_SECONDS
        self.ask_all_queues()

    def look_again(self) -> None:
        """Let the next cycle recover, if there is still doubt."""
        if self.in_doubt:
            self._must_recover = True
            self._news.set()

    async def recover(self) -> None:
        """Give back the jobs whose claim was never answered. Raises DatabaseError.

        Call it only between two cycles: what a claim of ours brought is known by then.
        """
        if await self._backend.give_back_unknown():
            self.ask_all_queues()
        self._must_recover = False

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def settle_until_idle(
        self, seconds: float, *, enough: Callable[[], bool] | None = None
    ) -> None:
        """Settle what ends until no handler runs and nothing is left to be settled.

        It returns earlier when so many seconds are over, or when ``enough`` returns True, but not
        in the middle of a commit. An outage is waited out.
        """
        deadline = time.monotonic() + seconds
        while self._running or self.needs_cycle:
            if self.needs_cycle:
                try:
                    await self.cycle(None)
                    continue
                except StoreError as error:
                    _log.warning("can't settle what has ended just now: %s", error)
                    await asyncio.sleep(0.2)
            left = deadline - time.monotonic()
            if left <= 0 or (enough is not None and enough()):
                return
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, 0.5)):
                    await self._news.wait()

    def cancel_executions(self) -> None:
        """Cancel every handler here and now. Nothing is settled: their leases expire."""
        for task in self._running:
            task.cancel()
