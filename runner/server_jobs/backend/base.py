"""The base class of backends that execute jobs in their own process."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Executor
from functools import cached_property
from typing import ClassVar

from server_jobs.backend.protocol import PollResult, WorkerBackendConfig, WorkerExecutionResult
from server_jobs.backend.rotation import QueueRotation
from server_jobs.database import Database
from server_jobs.definition.held import Held
from server_jobs.definition.options import RunsOn
from server_jobs.definition.stop_request import StopReason
from server_jobs.errors import LeaseLostError, StoreError
from server_jobs.execution.execution import Execution, ExecutionEnvironment, broken_off
from server_jobs.execution.group_commit import settle_alone
from server_jobs.execution.lease_keeper import LeaseKeeper, LeaseKeeping
from server_jobs.execution.reports import report
from server_jobs.records.ids import new_worker_id
from server_jobs.records.outcomes import (
    Abandoned,
    Completed,
    Outcome,
    Postponed,
    Released,
    Withdrawn,
)
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import ClaimedJob
from server_jobs.registry import JobRegistry
from server_jobs.schedules.declare import synchronise
from server_jobs.schedules.scheduler import Scheduler, Ticked
from server_jobs.schedules.store import ScheduleStore
from server_jobs.store.store import Store

_log = logging.getLogger("server_jobs.worker")


class BaseWorkerBackend:
    """Claims jobs, executes them in this process and settles them, one call at a time.

    A claim counts as the beginning of the handler, since one process does both. ``worker_id`` is
    the name under which leases are held; by default it names the backend, the host and the process,
    and ends at random. ``keeping`` says how leases are kept.
    """

    name = "base"
    runs_on: ClassVar[RunsOn | None] = None
    """The name by which jobs ask for this backend (``runs_on=``). Jobs that ask for another one are
    left to that. None means that every job is executed, whatever it asks for.
    """
    ended_by_exceptions: ClassVar[bool] = False
    """Whether the platform ends this process by an exception that isn't an ``Exception``, raised
    anywhere, as Cloudflare does near its limit of CPU time.
    """

    def __init__(
        self,
        *,
        database: Database,
        job_registry: JobRegistry,
        config: WorkerBackendConfig | None = None,
        worker_id: str | None = None,
        keeping: LeaseKeeping | None = None,
    ) -> None:
        self.config = config or WorkerBackendConfig()
        if worker_id is None:
            worker_id = new_worker_id(self.name)
        self.worker_id = worker_id
        self.store = Store(database)
        self.registry = job_registry
        self.leases = LeaseKeeper(
            self.store,
            worker_id=self.worker_id,
            lease_seconds=self.config.lease,
            keeping=keeping,
        )
        self.schedules = ScheduleStore(database)
        self._scheduler = Scheduler(self.schedules)
        self._rotation = QueueRotation(self.config.queues)
        self._executing: set[Held] = set()

    async def initialize(self) -> None:
        """Check the tables and begin to keep leases.

        Raises DatabaseError, and SchemaError where the tables can't be used.
        """
        await self.store.check_schema()
        self.leases.start()

    async def shutdown(self) -> None:
        """Give back the jobs that were claimed and not begun, and keep no more leases.

        Handlers that run are asked to stop; the ``execute`` that called them gives their jobs back.
        Raises DatabaseError where nothing could be given back; then the leases expire.
        """
        for running in self._executing:
            running.stop_request.make(StopReason.SHUTDOWN)
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
            await self.leases.stop()

    async def poll_and_claim(self, limit: int | None = None) -> PollResult:
        """Stage due jobs, then claim from one queue after the other until ``limit`` is reached.

        By default the limit is ``concurrency``. Raises DatabaseError if nothing was claimed.
        """
        await self.store.stage(self.config.queues)
        available = await self.store.available(
            queues=self.config.queues, job_names=self.job_names()
        )
        wanted = self.config.concurrency if limit is None else limit
        claimed: list[ClaimedJob] = []
        for queue in self._rotation.order():
            if len(claimed) >= wanted:
                break
            try:
                claimed += await self.store.claim(self.claim_of(queue, wanted - len(claimed)))
            except StoreError:
                if not claimed:
                    raise
                break  # the caller executes what is claimed; the next poll will raise
        for job in claimed:
            self.leases.hold(job)
        return PollResult(claimed, max(available, len(claimed)))

    async def execute(self, job: ClaimedJob) -> WorkerExecutionResult:
        """Execute a claimed job and settle its record → how it went.

        A handler's error is in the result. If the caller is cancelled, the job is given back.
        Raises DatabaseError where the record can't be settled; then the lease expires.
        """
        began = time.perf_counter()
        held = self.leases.get(job.id)
        if held is None or held.claim.fence != job.fence:
            return WorkerExecutionResult(job.id, False, 0.0, "the lease was lost")
        self._executing.add(held)
        accepted: Outcome | None = None
        try:
            try:
                outcome = await self.run(job, held)
            except asyncio.CancelledError:
                given_back = self._released(StopReason.CALLER.value)
                await asyncio.shield(settle_alone(self.store, held, given_back))
                raise
            except Exception as error:  # a bug of ours: nobody else would end the attempt
                await settle_alone(self.store, held, broken_off(job, error))
                raise
            if outcome is not None:
                accepted = await settle_alone(self.store, held, outcome)
        finally:
            self._executing.discard(held)
            self.leases.drop(held.claim)
        duration = (time.perf_counter() - began) * 1000
        if accepted is None:
            return WorkerExecutionResult(job.id, False, duration, "the lease was lost")
        report(job, accepted, duration / 1000)
        reason = _reason(accepted)
        return WorkerExecutionResult(job.id, reason is None, duration, reason)

    async def release_lock(self, job_id: str) -> None:
        """Give a claimed job back, under the fence of this backend's claim.

        Raises LeaseLostError where the job isn't held here, or no longer.
        """
        held = self.leases.get(job_id)
        if held is None:
            raise LeaseLostError(f"job {job_id} isn't held by {self.worker_id}")
        self.leases.drop(held.claim)
        outcome = self._released("given back by its worker")
        if not await self.store.settle({held.claim: outcome}):
            raise LeaseLostError(f"the lease of job {job_id} was lost before it was given back")

    async def handle_expired_locks(self) -> int:
        """Rescue all jobs whose lease has expired, also other workers' → how many there were."""
        return len(await self.store.rescue())

    async def declare_schedules(self, *, prune: bool = False) -> None:
        """Write the registry's schedules into the table.

        ``prune`` disables schedules that the registry declared earlier and no longer does.
        Raises DatabaseError.
        """
        await synchronise(
            self.schedules, self.registry.schedules, source=self.registry.source, prune=prune
        )

    async def fire_schedules(self) -> Ticked:
        """Make the jobs of all due schedules, also of those that other apps declared.

        Any number of backends may do so, as often as they like: each fire time gets one job.
        Raises DatabaseError.
        """
        return await self._scheduler.tick()

    async def health_check(self) -> bool:
        """Return whether the database answers and its tables can be used."""
        try:
            await self.store.check_schema()
        except StoreError:
            return False
        return True

    async def give_back_unknown(self) -> int:
        """Give back the jobs whose claim was committed and never answered → how many there were.

        After an outage the table may have jobs under this ``worker_id`` that this process doesn't
        know of. Call it only while none of its claims is under way. Raises DatabaseError.
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
        """The database that handlers are given in their context."""
        return self.store.database

    @property
    def handler_threads(self) -> Executor | None:
        """The threads that plain handlers run on. None is the loop's default executor."""
        return None

    def job_names(self) -> list[str]:
        """Return the names of the registry's jobs that this backend may execute."""
        names = self.registry.get_names()
        if self.runs_on is None:
            return names
        may = {None, self.runs_on}
        return [name for name in names if self.registry.get(name).definition.runs_on in may]

    def claim_of(self, queue: str, limit: int) -> ClaimRequest:
        """Return a request for at most ``limit`` jobs of a queue that this backend can execute."""
        return ClaimRequest(
            queue=queue,
            job_names=self.job_names(),
            limit=limit,
            worker_id=self.worker_id,
            lease_seconds=self.config.lease,
        )

    async def run(self, job: ClaimedJob, held: Held) -> Outcome | None:
        """Execute a job under its lease → its outcome, which the caller settles.

        None means that the lease was lost, and nothing is to be settled.
        """
        definition = self.registry.get(job.job_name).definition
        execution = Execution(definition, job, held, self.environment)
        outcome = await execution.run()
        if isinstance(execution.error, KeyboardInterrupt):
            # It may be a person's Ctrl-C that hit the handler. Let it reach whoever runs the loop.
            asyncio.get_running_loop().call_soon(_raise, execution.error)
        return outcome

    @cached_property
    def environment(self) -> ExecutionEnvironment:
        """What the executions of this backend share."""
        return ExecutionEnvironment(
            self.handler_database,
            self.handler_threads,
            self.config.max_releases,
            ended_by_exceptions=self.ended_by_exceptions,
        )

    def _released(self, reason: str) -> Released:
        return Released(reason, self.config.max_releases)


def _raise(error: BaseException) -> None:
    raise error


def _reason(outcome: Outcome) -> str | None:
    """Return why an execution has no result; None if it has one."""
    match outcome:
        case Completed():
            return None
        case Released() | Postponed() | Abandoned() | Withdrawn():
            return outcome.reason
        case _:
            return outcome.error.message
