"""The state machine of docs/state-machine.md, a second time: plain Python, one job at a time.

It shares the vocabulary of the core (outcomes, leases, statuses) and none of its rules, so that
a mistake has to be made twice to go unseen.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from server_jobs.records.outcomes import (
    Abandoned,
    Completed,
    Disrupted,
    Failed,
    LaunchLost,
    Outcome,
    Postponed,
    Progress,
    Released,
    Withdrawn,
)
from server_jobs.records.requests import ClaimRequest, Prunable, Settled, Stretch
from server_jobs.records.rows import Claim, NewJob
from server_jobs.records.status import JobStatus

PENDING, RUNNING = JobStatus.PENDING, JobStatus.RUNNING
COMPLETED, FAILED, CANCELLED = JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED

Step: TypeAlias = tuple[str, str]
"""What was asked for, and what came of it."""

LAUNCHES_THAT_MAY_BE_LOST = 10
ERRORS_KEPT = 20


@dataclass
class ModelJob:
    """A row as it should be. All fields but ``backoff_base`` are columns."""

    id: str
    job_name: str
    queue: str
    scheduled_for: datetime
    ready: bool
    priority: int = 0
    max_attempts: int = 3
    unique_key: str | None = None
    backoff_base: float | None = None
    """Seconds after the first attempt, doubling; None where the row says no policy."""
    status: JobStatus = PENDING
    progress: float = 0.0
    progress_message: str | None = None
    result: str | None = None
    error: str | None = None
    errors: list[tuple[int, datetime, str, str]] = field(default_factory=list)
    """Attempt, moment, type and message of what went wrong."""
    attempt_count: int = 0
    fence: int = 0
    worker_id: str | None = None
    worker_started_at: datetime | None = None
    worker_expires_at: datetime | None = None
    handler_started_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    launch_failures: int = 0
    release_count: int = 0
    disruptions: int = 0
    updated_at: datetime | None = None
    """None as long as it is what the database put there by its own clock."""
    completed_at: datetime | None = None

    @property
    def live(self) -> bool:
        return self.status in {PENDING, RUNNING}

    @property
    def claim(self) -> Claim:
        """The lease of the last claim."""
        return Claim(self.id, self.fence)

    @property
    def settled(self) -> Settled:
        return Settled(self.status, self.scheduled_for)

    def columns(self) -> dict[str, Any]:
        """What the model has to say about the row."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "backoff_base"}
        if self.updated_at is None:
            del values["updated_at"]
        return values


class Model:
    """All jobs, and what was seen to happen to them.

    ``steps`` collects every transition as ``("fail", "running → pending")`` and every refusal as
    ``("fail", "refused")``, so that a test can tell whether it went everywhere.
    """

    def __init__(self, now: datetime, steps: set[Step]) -> None:
        self.now = now
        self.jobs: dict[str, ModelJob] = {}
        self.steps = steps

    # ── enqueue ──────────────────────────────────────────────────────────────────────────────

    def enqueue(self, new: Sequence[NewJob], backoff_base: float | None) -> list[str]:
        for job in new:
            holder = self._holder_of_key(job.job_name, job.unique_key)
            if job.id in self.jobs or holder is not None:
                self._refused("enqueue")
                continue
            due = job.scheduled_for or self._later(job.delay_seconds)
            self._insert(
                ModelJob(
                    id=job.id,
                    job_name=job.job_name,
                    queue=job.queue,
                    scheduled_for=due,
                    ready=due <= self.now,
                    priority=job.priority,
                    max_attempts=job.max_attempts,
                    unique_key=job.unique_key,
                    backoff_base=backoff_base,
                ),
                "enqueue",
            )
        return [self._holder_of_key(job.job_name, job.unique_key) or job.id for job in new]

    def insert_running(
        self, new: NewJob, worker_id: str, lease_seconds: float, scheduled_for: datetime
    ) -> ModelJob:
        """``scheduled_for`` is by the database's own clock, for it is the column's default."""
        return self._insert(
            ModelJob(
                id=new.id,
                job_name=new.job_name,
                queue=new.queue,
                scheduled_for=scheduled_for,
                ready=False,
                max_attempts=1,
                status=RUNNING,
                fence=1,
                attempt_count=1,
                worker_id=worker_id,
                worker_started_at=self.now,
                worker_expires_at=self._later(lease_seconds),
                handler_started_at=self.now,
            ),
            "insert_running",
        )

    def insert_by_hand(self, job: ModelJob) -> None:
        self._insert(job, "insert_by_hand")

    # ── claim, start, hold ───────────────────────────────────────────────────────────────────

    def claim(self, claim: ClaimRequest) -> list[ModelJob]:
        """The claimed jobs, the most urgent first."""
        claimable = [
            job
            for job in self.claimable()
            if job.queue == claim.queue
            and (claim.job_names is None or job.job_name in claim.job_names)
        ]
        claimable.sort(key=lambda job: (-job.priority, job.scheduled_for, job.id))
        claimed = claimable[: claim.limit]
        for job in claimed:
            self._take(job, claim.worker_id, claim.lease_seconds, starting=claim.starting)
        return claimed

    def claim_one(self, job_id: str, worker_id: str, lease_seconds: float) -> ModelJob | None:
        job = self.jobs.get(job_id)
        if job is None or job.status != PENDING or job.scheduled_for > self.now:
            self._refused("claim_one")
            return None
        self._take(job, worker_id, lease_seconds, starting=True)
        return job

    def _take(self, job: ModelJob, worker_id: str, lease_seconds: float, *, starting: bool) -> None:
        self._step("claim" if starting else "claim for a launch", job.status, RUNNING)
        job.status = RUNNING
        job.ready = False
        job.fence += 1
        job.attempt_count += 1
        job.worker_id = worker_id
        job.worker_started_at = self.now
        job.worker_expires_at = self._later(lease_seconds)
        job.handler_started_at = self.now if starting else None
        job.progress, job.progress_message = 0.0, None
        job.updated_at = self.now

    def start(self, claim: Claim, worker_id: str, lease_seconds: float) -> ModelJob | None:
        job = self.held(claim)
        if job is None or (job.handler_started_at is not None and job.worker_id != worker_id):
            self._refused("start" if job is None else "start again")
            return None
        self._step("start", RUNNING, RUNNING)
        job.handler_started_at = job.handler_started_at or self.now
        job.worker_id = worker_id
        job.worker_expires_at = self._later(lease_seconds)
        job.updated_at = self.now
        return job

    def heartbeat(self, claims: Iterable[Claim], lease_seconds: float) -> dict[str, bool]:
        answer = {}
        for claim in claims:
            job = self.held(claim)
            if job is None:
                self._refused("heartbeat")
                continue
            self._step("heartbeat", RUNNING, RUNNING)
            job.worker_expires_at = self._later(lease_seconds)
            job.updated_at = self.now
            answer[job.id] = job.cancel_requested_at is not None
        return answer

    def report_progress(self, reports: Mapping[Claim, Progress]) -> set[str]:
        answer = set()
        for claim, (percent, message) in reports.items():
            job = self.held(claim)
            if job is None:
                self._refused("progress")
                continue
            self._step("progress", RUNNING, RUNNING)
            job.progress, job.progress_message = percent, message
            job.updated_at = self.now
            answer.add(job.id)
        return answer

    # ── settle ───────────────────────────────────────────────────────────────────────────────

    def settle(self, outcomes: Mapping[Claim, Outcome]) -> dict[str, Settled]:
        answer = {}
        for claim, outcome in outcomes.items():
            job = self._settle(claim, outcome)
            if job is not None:
                answer[job.id] = job.settled
        return answer

    def _settle(self, claim: Claim, outcome: Outcome) -> ModelJob | None:
        name = type(outcome).__name__
        job = self.held(claim)
        if job is None:
            self._refused(name)
            return None
        match outcome:
            case Completed(result, message):
                # A completion wins over a cancellation that was only asked for.
                job.result, job.error, job.progress = result, None, 100.0
                if message is not None:
                    job.progress_message = message
                self._finish(name, job, COMPLETED)
            case Abandoned(reason):
                job.error = reason
                self._finish(name, job, CANCELLED)
            case Failed(error, permanent, delay):
                self._blame(job, error.attempt, error.type, error.message)
                job.release_count = 0
                none_left = job.attempt_count == job.max_attempts
                name = "Failed for good" if permanent else name
                self._leave(name, job, give_up=permanent or none_left, delay=delay)
            case Released(reason, max_releases):
                give_up = job.release_count >= max_releases
                if give_up:
                    job.error = reason
                job.attempt_count -= 1
                job.release_count += 1
                self._leave(name, job, give_up=give_up)
            case Postponed(reason, delay):
                job.attempt_count -= 1
                job.progress_message = reason
                self._leave(name, job, give_up=False, delay=delay)
            case Withdrawn(reason, delay):
                if job.handler_started_at is not None:
                    self._refused("Withdrawn after the start")
                    return None
                job.attempt_count -= 1
                job.progress_message = reason
                self._leave(name, job, give_up=False, delay=delay)
            case LaunchLost(error, delay, maximum):
                if job.handler_started_at is not None:
                    self._refused("LaunchLost after the start")
                    return None
                self._blame(job, error.attempt, error.type, error.message)
                job.attempt_count -= 1
                job.launch_failures += 1
                self._leave(name, job, give_up=job.launch_failures >= maximum, delay=delay)
            case Disrupted(error, delay, maximum):
                if job.handler_started_at is None:
                    self._refused("Disrupted before the start")
                    return None
                self._blame(job, error.attempt, error.type, error.message)
                job.attempt_count -= 1
                job.disruptions += 1
                self._leave(name, job, give_up=job.disruptions >= maximum, delay=delay)
        return job

    def ended(self, claims: Iterable[Claim]) -> dict[str, JobStatus]:
        """What became of those that no longer run, nor were claimed again."""
        jobs = [self.jobs[claim.job_id] for claim in claims if claim.job_id in self.jobs]
        return {
            job.id: job.status for job in jobs if job.status != RUNNING and job.claim in set(claims)
        }

    # ── maintain ─────────────────────────────────────────────────────────────────────────────

    def stage(self) -> int:
        due = [
            job
            for job in self.jobs.values()
            if job.status == PENDING and not job.ready and job.scheduled_for <= self.now
        ]
        for job in due:
            self._step("stage", PENDING, PENDING)
            job.ready = True
            job.updated_at = self.now
        return len(due)

    def expired(self) -> list[Claim]:
        return [job.claim for job in self.jobs.values() if self._has_expired(job)]

    def rescue(self, seen: Collection[Claim], answer: Mapping[str, Settled]) -> dict[str, Settled]:
        """Rescue what was ``seen`` to be expired and still is, under the same fence."""
        rescued = {}
        for claim in seen:
            job = self.held(claim)
            if job is None or not self._has_expired(job):
                self._refused("rescue")
                continue
            self._rescue(job, answer.get(job.id))
            rescued[job.id] = job.settled
        return rescued

    def _rescue(self, job: ModelJob, answer: Settled | None) -> None:
        began = job.handler_started_at is not None
        attempt = job.attempt_count
        self._blame(
            job,
            attempt,
            "lease_expired",
            f"the lease of {job.worker_id} expired"
            f" {'while its handler ran' if began else 'before its handler began'};"
            " it is taken for dead",
        )
        if began:
            give_up = job.attempt_count == job.max_attempts
        else:
            job.attempt_count -= 1
            job.launch_failures += 1
            give_up = job.launch_failures >= LAUNCHES_THAT_MAY_BE_LOST
        job.release_count = 0
        name = "rescue after the start" if began else "rescue before the start"
        if job.backoff_base is not None:
            self._leave(name, job, give_up=give_up, delay=job.backoff_base * 2 ** (attempt - 1))
            return
        # No policy in the row: a random delay, which only the answer knows.
        self._leave(name, job, give_up=give_up, delay=1)
        if job.status == PENDING and answer is not None:
            assert self.now <= answer.scheduled_for <= self._later(5 * 2 ** (attempt - 1))
            job.scheduled_for = answer.scheduled_for

    def survey(self, prunable: Prunable, *, after: str, limit: int) -> Stretch:
        stretch = sorted(job_id for job_id in self.jobs if job_id > after)[:limit]
        found = Counter(self.jobs[job_id].status for job_id in self._old(prunable, stretch))
        ends = {status: found[status] for status in (COMPLETED, FAILED, CANCELLED)}
        return Stretch(stretch[-1] if stretch else after, len(stretch), ends)

    def prune(self, prunable: Prunable, *, after: str, to: str) -> dict[str, JobStatus]:
        gone = {}
        for job_id in self._old(prunable, [job_id for job_id in self.jobs if after < job_id <= to]):
            gone[job_id] = self.jobs.pop(job_id).status
            self._step("prune", gone[job_id], None)
        return gone

    def _old(self, prunable: Prunable, job_ids: Iterable[str]) -> list[str]:
        return [
            job_id
            for job_id in job_ids
            if (job := self.jobs[job_id]).completed_at is not None
            and job.status in prunable.before
            and job.completed_at < prunable.before[job.status]
        ]

    # ── by a person ──────────────────────────────────────────────────────────────────────────

    def cancel(self, job_id: str) -> JobStatus:
        job = self.jobs[job_id]
        if not job.live:
            self._refused("cancel")
            return job.status
        if job.cancel_requested_at is None:
            job.cancel_requested_at = self.now
        job.updated_at = self.now
        if job.status == PENDING:
            self._finish("cancel", job, CANCELLED)
        else:
            self._step("cancel", RUNNING, RUNNING)
        return job.status

    def retry(self, job_id: str) -> bool:
        job = self.jobs[job_id]
        if job.status not in {FAILED, CANCELLED}:
            self._refused("retry")
            return False
        if self._holder_of_key(job.job_name, job.unique_key) is not None:
            self._refused("retry under a taken key")
            return False
        self._step("retry", job.status, PENDING)
        job.status = PENDING
        job.ready = True
        job.scheduled_for = self.now
        job.attempt_count = job.launch_failures = job.release_count = job.disruptions = 0
        job.completed_at = job.cancel_requested_at = None
        job.worker_id = job.worker_started_at = job.handler_started_at = None
        job.progress, job.progress_message = 0.0, None
        job.updated_at = self.now
        return True

    # ── questions ────────────────────────────────────────────────────────────────────────────

    def held(self, claim: Claim) -> ModelJob | None:
        """The job, if this is the lease that it runs under."""
        job = self.jobs.get(claim.job_id)
        return job if job is not None and job.status == RUNNING and job.claim == claim else None

    def running(self) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.status == RUNNING]

    def freed_keys(self) -> list[ModelJob]:
        """Ended jobs whose unique key may be given to another."""
        return [
            job
            for job in self.jobs.values()
            if job.unique_key and not self._holder_of_key(job.job_name, job.unique_key)
        ]

    def retryable(self) -> list[str]:
        return [job.id for job in self.jobs.values() if job.status in {FAILED, CANCELLED}]

    def claimable(self) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.status == PENDING and job.ready]

    def _has_expired(self, job: ModelJob) -> bool:
        return job.worker_expires_at is not None and job.worker_expires_at <= self.now

    def _holder_of_key(self, job_name: str, unique_key: str | None) -> str | None:
        if unique_key is None:
            return None
        for job in self.jobs.values():
            if job.live and (job.job_name, job.unique_key) == (job_name, unique_key):
                return job.id
        return None

    # ── shared ───────────────────────────────────────────────────────────────────────────────

    def _insert(self, job: ModelJob, how: str) -> ModelJob:
        self.jobs[job.id] = job
        self._step(how, None, job.status)
        return job

    def _blame(self, job: ModelJob, attempt: int, type_: str, message: str) -> None:
        job.error = message
        job.errors = [*job.errors, (attempt, self.now, type_, message)][-ERRORS_KEPT:]

    def _leave(self, name: str, job: ModelJob, *, give_up: bool, delay: float = 0) -> None:
        """Stop running without a result."""
        if job.cancel_requested_at is not None:
            self._finish(name, job, CANCELLED)
        elif give_up:
            self._finish(name, job, FAILED)
        else:
            self._step(name, job.status, PENDING)
            job.status = PENDING
            job.ready = delay == 0
            job.scheduled_for = self._later(delay)
            job.worker_id = job.worker_started_at = job.handler_started_at = None
            job.worker_expires_at = None
            job.updated_at = self.now

    def _finish(self, name: str, job: ModelJob, status: JobStatus) -> None:
        self._step(name, job.status, status)
        job.status = status
        job.ready = False
        job.worker_expires_at = None
        job.completed_at = self.now
        job.updated_at = self.now

    def _later(self, seconds: float) -> datetime:
        return self.now + timedelta(seconds=seconds)

    def _step(self, name: str, before: JobStatus | None, after: JobStatus | None) -> None:
        self.steps.add((name, f"{before or 'nothing'} → {after or 'nothing'}"))

    def _refused(self, name: str) -> None:
        self.steps.add((name, "refused"))
