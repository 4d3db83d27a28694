"""What the backends share: claim, execute, settle, release, rescue."""

from __future__ import annotations

import logging
import os
import socket
import time
from concurrent.futures import Executor
from typing import ClassVar

from server_jobs.backend.protocol import PollResult, WorkerBackendConfig, WorkerExecutionResult
from server_jobs.database import Database
from server_jobs.definition.held import Held, StopReason
from server_jobs.definition.options import RunsOn
from server_jobs.errors import DatabaseError, LeaseLostError, SchemaError
from server_jobs.execution.execution import Execution
from server_jobs.execution.group_commit import settle_alone
from server_jobs.execution.lease_keeper import HAS_THREADS, TICK_SECONDS, LeaseKeeper
from server_jobs.records.ids import random_suffix
from server_jobs.records.outcomes import Abandoned, Completed, Outcome, Postponed, Released
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import ClaimedJob
from server_jobs.registry import JobRegistry
from server_jobs.schedules.declare import synchronise
from server_jobs.schedules.scheduler import Scheduler, Ticked
from server_jobs.schedules.store import ScheduleStore
from server_jobs.store.store import Store

_log = logging.getLogger("server_jobs.worker")


class BaseWorkerBackend:
    """A backend that executes in its own process; claiming begins the handler."""

    name = "base"
    runs_on: ClassVar[RunsOn | None] = None
    """Jobs that declare another backend are left to it. None executes whatever it finds."""

    def __init__(
        self,
        *,
        database: Database,
        job_registry: JobRegistry,
        config: WorkerBackendConfig | None = None,
        worker_id: str | None = None,
        tick_seconds: float = TICK_SECONDS,
        keep_on_thread: bool = HAS_THREADS,
    ) -> None:
        self.config = config or WorkerBackendConfig()
        if worker_id is None:
            worker_id = f"{self.name}/{socket.gethostname()}/{os.getpid()}/{random_suffix()}"
        self.worker_id = worker_id
        self.store = Store(database)
        self.registry = job_registry
        self.leases = LeaseKeeper(
            self.store,
            worker_id=self.worker_id,
            lease_seconds=self.config.lease,
            tick_seconds=tick_seconds,
            on_thread=keep_on_thread,
        )
        self.schedules = ScheduleStore(database)
        self._scheduler = Scheduler(self.schedules)
        self._next_queue = 0
        self._executing: set[Held] = set()

    async def initialize(self) -> None:
        """Check the tables and begin to keep leases."""
        await self.store.check_schema()
        await self.leases.__aenter__()

    async def shutdown(self) -> None:
        """Give back the jobs that were claimed and not begun; ask the others to end."""
        for running in self._executing:
            running.stop(StopReason.SHUTDOWN)  # its own execute() gives it back
        held = [job for job in self.leases.all if job not in self._executing]
        try:
            if held:
                await self.store.settle(
                    {job.claim: self._released("its worker shut down") for job in held}
                )
        finally:
            # What couldn't be given back must expire: nobody works on it any more.
            for job in held:
                self.leases.drop(job.claim)
            await self.leases.__aexit__(None, None, None)

    async def poll_and_claim(self, limit: int | None = None) -> PollResult:
        """Stage what is due, then claim from one queue after the other until there are enough."""
        await self.store.stage()
        available = await self.store.available(
            queues=self.config.queues, job_names=self.job_names()
        )
        wanted = self.config.concurrency if limit is None else limit
        claimed: list[ClaimedJob] = []
        for queue in self._rotation():
            if len(claimed) >= wanted:
                break
            try:
                claimed += await self.store.claim(self.claim_of(queue, wanted - len(claimed)))
            except DatabaseError:
                if not claimed:
                    raise
                break  # what is claimed is for the caller to execute; the next poll says what's up
        for job in claimed:
            self.leases.hold(job)
        return PollResult(claimed, max(available, len(claimed)))

    async def execute(self, job: ClaimedJob) -> WorkerExecutionResult:
        """Execute a claimed job and settle its record."""
        began = time.perf_counter()
        held = self.leases.get(job.id)
        if held is None or held.claim.fence != job.fence:
            return WorkerExecutionResult(job.id, False, 0.0, "the lease was lost")
        self._executing.add(held)
        accepted: Outcome | None = None
        try:
            outcome, _ = await self.run(job)
            if outcome is not None:
                accepted = await settle_alone(self.store, held, outcome)
        finally:
            self._executing.discard(held)
            self.leases.drop(held.claim)
        duration = (time.perf_counter() - began) * 1000
        if accepted is None:
            return WorkerExecutionResult(job.id, False, duration, "the lease was lost")
        reason = _reason(accepted)
        return WorkerExecutionResult(job.id, reason is None, duration, reason)

    async def release_lock(self, job_id: str) -> None:
        """Give a claimed job back, under the fence that this backend holds."""
        held = self.leases.get(job_id)
        if held is None:
            raise LeaseLostError(f"job {job_id} isn't held by {self.worker_id}")
        self.leases.drop(held.claim)
        outcome = self._released("given back by its worker")
        if not await self.store.settle({held.claim: outcome}):
            raise LeaseLostError(f"the lease of job {job_id} was lost before it was given back")

    async def handle_expired_locks(self) -> int:
        """Rescue jobs whose lease has expired."""
        return len(await self.store.rescue())

    async def declare_schedules(self, *, prune: bool = False) -> None:
        """Write the registry's schedules into the table; with ``prune``, disable its former ones.

        Raises DatabaseError.
        """
        await synchronise(
            self.schedules, self.registry.schedules, source=self.registry.source, prune=prune
        )

    async def fire_schedules(self) -> Ticked:
        """Make the jobs of all schedules that are due, whoever declared them.

        Any number of backends may do so, as often as they like: each fire time gets one job.
        Raises DatabaseError.
        """
        return await self._scheduler.tick()

    async def health_check(self) -> bool:
        """Whether the database answers and its tables can be used."""
        try:
            await self.store.check_schema()
        except (DatabaseError, SchemaError):
            return False
        return True

    async def give_back_unknown(self) -> int:
        """After an outage: a claim whose answer was lost left us jobs that we don't know of.

        Only while no claim of ours is under way. Raises DatabaseError.
        """
        known = {held.claim for held in self.leases.all}
        unknown = await self.store.held_by(self.worker_id) - known
        if unknown:
            _log.info("giving back %d jobs whose claim went unanswered", len(unknown))
            await self.store.settle(
                dict.fromkeys(unknown, self._released("its claim went unanswered"))
            )
        return len(unknown)

    @property
    def handler_database(self) -> Database:
        """The database as handlers see it, in their context."""
        return self.store.database

    def job_names(self) -> list[str]:
        """The registry's jobs that may run on this backend."""
        names = self.registry.get_names()
        if self.runs_on is None:
            return names
        may = {None, self.runs_on}
        return [name for name in names if self.registry.get(name).definition.runs_on in may]

    def claim_of(self, queue: str, limit: int) -> ClaimRequest:
        """A request for jobs that this backend can execute."""
        return ClaimRequest(
            queue=queue,
            job_names=self.job_names(),
            limit=limit,
            worker_id=self.worker_id,
            lease_seconds=self.config.lease,
        )

    async def run(
        self, job: ClaimedJob, threads: Executor | None = None
    ) -> tuple[Outcome | None, Execution]:
        """Execute a held job → what is to be written."""
        held = self.leases.get(job.id)
        if held is None or held.claim != job.claim:
            raise LeaseLostError(f"job {job.id} isn't held by {self.worker_id}")
        execution = Execution(
            self.registry.get(job.job_name).definition,
            job,
            held,
            database=self.handler_database,
            threads=threads,
            max_releases=self.config.max_releases,
        )
        return await execution.run(), execution

    def _released(self, reason: str) -> Released:
        return Released(reason, self.config.max_releases)

    def _rotation(self) -> list[str]:
        """The queues, each time beginning with another one, so that none starves."""
        queues = list(self.config.queues)
        start = self._next_queue % len(queues)
        self._next_queue += 1
        return queues[start:] + queues[:start]


def _reason(outcome: Outcome) -> str | None:
    """Why there is no result."""
    match outcome:
        case Completed():
            return None
        case Released() | Postponed() | Abandoned():
            return outcome.reason
        case _:
            return outcome.error.message
