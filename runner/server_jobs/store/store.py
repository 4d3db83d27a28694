"""Job records: the only caller of the statements on jobs, plain data in, plain data out.

Each write by a holder names its claim, and the answer says which writes were accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy.sql.elements import ColumnElement

from server_jobs.database import Database
from server_jobs.database.batch import Answer, Batch
from server_jobs.errors import (
    ConstraintViolatedError,
    DatabaseError,
    JobNotFoundError,
    JobNotRetryableError,
)
from server_jobs.records.attempt_error import LEASE_EXPIRED, AttemptError
from server_jobs.records.backoff import RetryPolicy
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
    columns_of,
)
from server_jobs.records.requests import Changed, ClaimRequest, Prunable, Settled, Skipped, Stretch
from server_jobs.records.rows import Claim, ClaimedJob, JobSummary, NewJob
from server_jobs.records.status import RETRYABLE, JobStatus
from server_jobs.sql.statement import Row, Statement
from server_jobs.store.chunks import size_of_new, size_of_values
from server_jobs.store.reader import Reader
from server_jobs.store.statements.enqueue import EnqueueStatements
from server_jobs.store.statements.hold import HoldStatements
from server_jobs.store.statements.maintain import ENDS, MaintainStatements
from server_jobs.store.statements.settle import SettleStatements

STAGE_LIMIT = 1_000
RESCUE_LIMIT = 500


class Store(Reader):
    """Reads and writes the records of one database.

    ``now`` replaces the database's clock by another SQL expression.
    """

    def __init__(self, database: Database, now: ColumnElement[datetime] | None = None) -> None:
        super().__init__(database, now)
        self._enqueue_sql = EnqueueStatements.of(database, now)
        self._hold_sql = HoldStatements.of(database, now)
        self._settle_sql = SettleStatements.of(database, now)
        self._maintain_sql = MaintainStatements.of(database, now)

    # ── enqueue ──────────────────────────────────────────────────────────────────────────────

    def enqueue_statement(self, new: Sequence[NewJob]) -> Statement:
        """Return the INSERT itself, for the caller's own transaction."""
        return self._enqueue_sql.enqueue(new)

    def find_statement(self, new: NewJob) -> Statement:
        """Return the query for the live job that has the new job's unique key."""
        return self._enqueue_sql.live_by_key([(new.job_name, new.unique_key)])

    async def enqueue(self, new: Sequence[NewJob]) -> list[str]:
        """Insert pending jobs, all or none → their ids, in order.

        Where a live job has the same unique key, the answer has that job's id instead. Calling it
        again with the same jobs is safe: ids that exist are skipped.
        """
        chunks = [self._enqueue_sql.enqueue(chunk) for chunk in self._cut(new, size_of_new)]
        keyed = [job for job in new if job.unique_key is not None]
        if len(keyed) > 1:
            chunks = [*self._enqueue_sql.keys_in_turn(), *chunks]
        if not keyed:
            await self._repeatable(chunks)
            return [job.id for job in new]
        for _ in range(10):
            live = await self._live(chunks, keyed)
            free = [job for job in keyed if (job.job_name, job.unique_key) not in live]
            if await self._all_exist(free):
                return [live.get((job.job_name, job.unique_key), job.id) for job in new]
            # The holder of a key ended between our INSERT and our look: the key is free now.
        raise DatabaseError("a unique key kept changing hands; enqueue again")

    async def _live(
        self, inserts: list[Statement], keyed: Sequence[NewJob]
    ) -> Mapping[tuple[str, str | None], str]:
        keys = [(job.job_name, job.unique_key) for job in keyed]
        batch = Batch()
        batch.add_all(inserts)
        found = batch.add(self._enqueue_sql.live_by_key(keys))
        await batch.run_repeatable(self.database)
        return {(name, key): job_id for job_id, name, key in found}

    async def _all_exist(self, jobs: Sequence[NewJob]) -> bool:
        """Return whether an earlier call inserted them all: jobs that ended hold no key."""
        for job in jobs:
            (found,) = await self._repeatable([self._read_sql.get(job.id)])
            if not found.rows:
                return False
        return True

    async def insert_running(
        self, new: NewJob, *, worker_id: str, lease_seconds: float
    ) -> ClaimedJob:
        """Insert a job that the caller executes at once, already claimed."""
        statement = self._enqueue_sql.insert_running(
            new, worker_id=worker_id, lease_seconds=lease_seconds
        )
        (row,) = await self.database.execute(statement)
        return ClaimedJob(*row)

    # ── claim ────────────────────────────────────────────────────────────────────────────────

    async def claim(self, request: ClaimRequest) -> list[ClaimedJob]:
        """Claim due jobs → at most ``request.limit``, the most urgent first."""
        return _claimed(await self.database.execute(self._hold_sql.claim(request)))

    async def claim_one(
        self, job_id: str, *, worker_id: str, lease_seconds: float
    ) -> ClaimedJob | None:
        """Claim and start one job → the claimed job; None where it isn't pending or due."""
        rows = await self.database.execute(
            self._hold_sql.claim_one(job_id, worker_id=worker_id, lease_seconds=lease_seconds)
        )
        return ClaimedJob(*rows[0]) if rows else None

    async def start(
        self, claim: Claim, *, worker_id: str, lease_seconds: float
    ) -> ClaimedJob | None:
        """Begin the handler of a job that a launcher claimed → the claimed job, or None.

        The first worker to ask gets it, and only that one gets it again when it repeats the call
        after a lost answer. Worker ids must therefore be unique.
        """
        rows = await self.database.execute(
            self._hold_sql.start(
                claim.job_id, claim.fence, worker_id=worker_id, lease_seconds=lease_seconds
            )
        )
        return ClaimedJob(*rows[0]) if rows else None

    # ── hold ─────────────────────────────────────────────────────────────────────────────────

    async def heartbeat(self, claims: Sequence[Claim], *, lease_seconds: float) -> dict[str, bool]:
        """Renew leases → by id of each job that is still held, whether it shall be cancelled."""
        held = [(claim.job_id, claim.fence) for claim in claims]
        statement = self._hold_sql.heartbeat(held, lease_seconds=lease_seconds)
        return {
            job_id: cancel_requested_at is not None
            for job_id, cancel_requested_at in await self.database.execute(statement)
        }

    async def report_progress(self, reports: Mapping[Claim, Progress]) -> set[str]:
        """Write percentages and messages → ids of the jobs that are still held."""
        return {job_id for (job_id,) in await self.database.execute(self._progress(reports))}

    def _progress(self, reports: Mapping[Claim, Progress]) -> Statement:
        return self._hold_sql.progress(
            [
                (claim.job_id, claim.fence, percent, message)
                for claim, (percent, message) in reports.items()
            ]
        )

    async def cancel_requests(self, worker_id: str) -> set[Claim]:
        """Return the claims of a worker's running jobs that shall be cancelled."""
        rows = await self.database.execute(self._hold_sql.cancel_requests(worker_id))
        return {Claim(job_id, fence) for job_id, fence in rows}

    async def held_by(self, worker_id: str) -> set[Claim]:
        """Return every claim that a worker holds according to the database."""
        rows = await self.database.execute(self._hold_sql.held_by(worker_id))
        return {Claim(job_id, fence) for job_id, fence in rows}

    # ── settle ───────────────────────────────────────────────────────────────────────────────

    async def settle(
        self, outcomes: Mapping[Claim, Outcome], reports: Mapping[Claim, Progress] | None = None
    ) -> dict[str, Settled]:
        """Write how executions ended, in one commit → by id, the outcomes that were accepted."""
        settled, _ = await self.settle_and_claim(outcomes, None, reports)
        return settled

    async def settle_and_claim(
        self,
        outcomes: Mapping[Claim, Outcome],
        request: ClaimRequest | None,
        reports: Mapping[Claim, Progress] | None = None,
    ) -> tuple[dict[str, Settled], list[ClaimedJob]]:
        """Settle jobs that have ended and claim the next ones, in one commit.

        ``reports`` is progress that wasn't written yet; it goes into the same commit. Returns the
        jobs whose outcome was accepted, by id, and the claimed jobs.
        """
        batch = Batch()
        progress = [self._progress(reports)] if reports else []
        settlements = self._settlements(outcomes)
        if len(progress) + len(settlements) > 1:
            batch.add_all(self._hold_sql.lock([claim.job_id for claim in outcomes]))
        batch.add_all(progress)
        endings = batch.add_all(settlements)
        claimed = batch.add(self._hold_sql.claim(request)) if request is not None else ()
        await batch.run(self.database)
        settled = {
            job_id: Settled(JobStatus(status), scheduled_for)
            for rows in endings
            for job_id, status, scheduled_for in rows
        }
        return settled, _claimed(claimed)

    async def settled(self, claims: Iterable[Claim]) -> dict[str, JobStatus]:
        """Return the status, by id, of jobs that ended under these claims.

        This tells after a lost answer which settlements were committed.
        """
        held = [(claim.job_id, claim.fence) for claim in claims]
        rows = await self.database.execute(self._settle_sql.settled(held))
        return {job_id: JobStatus(status) for job_id, status in rows}

    def _settlements(self, outcomes: Mapping[Claim, Outcome]) -> list[Statement]:
        """Return a statement for each kind of outcome, or several where one would be too large."""
        kinds: dict[type[Outcome], list[tuple[object, ...]]] = {}
        for claim, outcome in outcomes.items():
            row = (claim.job_id, claim.fence, *columns_of(outcome))
            kinds.setdefault(type(outcome), []).append(row)
        write = {
            Completed: self._settle_sql.complete,
            Failed: self._settle_sql.fail,
            Released: self._settle_sql.release,
            Postponed: self._settle_sql.postpone,
            Abandoned: self._settle_sql.abandon,
            LaunchLost: self._settle_sql.lose_launch,
            Disrupted: self._settle_sql.disrupt,
        }
        return [
            write[kind](chunk)
            for kind, rows in kinds.items()
            for chunk in self._cut(rows, size_of_values)
        ]

    # ── maintain ─────────────────────────────────────────────────────────────────────────────

    async def stage(self) -> int:
        """Make jobs that have become due visible to claims → how many, at most a thousand."""
        return len(await self.database.execute(self._maintain_sql.stage(STAGE_LIMIT)))

    async def rescue(self) -> dict[str, Settled]:
        """Take back jobs whose lease has expired → by id, what each became; at most 500."""
        expired = await self.database.execute(self._settle_sql.expired(RESCUE_LIMIT))
        if not expired:
            return {}
        rows = await self.database.execute(
            self._settle_sql.rescue([_rescue(*row) for row in expired])
        )
        return {
            job_id: Settled(JobStatus(status), scheduled_for)
            for job_id, status, scheduled_for in rows
        }

    async def survey(self, prunable: Prunable, *, after: str, limit: int) -> Stretch:
        """Look at ``limit`` records by id, from above ``after``."""
        statement = self._maintain_sql.survey(prunable, after=after, limit=limit)
        ((last_id, rows, *counts),) = await self.database.execute(statement)
        return Stretch(last_id or after, rows, dict(zip(ENDS, counts, strict=True)))

    async def prune(self, prunable: Prunable, *, after: str, to: str) -> dict[str, JobStatus]:
        """Delete prunable jobs with ids above ``after`` and up to ``to`` → the status of each."""
        statement = self._maintain_sql.prune(prunable, after=after, to=to)
        return {
            job_id: JobStatus(status) for job_id, status in await self.database.execute(statement)
        }

    # ── by a person ──────────────────────────────────────────────────────────────────────────

    async def cancel(self, job_id: str) -> JobStatus:
        """Cancel a pending job, or ask the holder of a running one to → the status it has now.

        A finished job stays unchanged. Raises JobNotFoundError.
        """
        changed = await self.cancel_many([job_id])
        for skipped in changed.skipped:
            if skipped.status is None:
                raise JobNotFoundError(skipped.reason)
            return skipped.status
        return changed.statuses[job_id]

    async def cancel_many(self, job_ids: Sequence[str]) -> Changed:
        """Cancel pending jobs and ask the holders of running ones to, in one statement.

        Jobs that have ended are skipped, and the answer names them.
        """
        (rows,) = await self._repeatable([self._maintain_sql.cancel(job_ids)])
        statuses = {job_id: JobStatus(status) for job_id, status in rows}
        return Changed(
            statuses,
            await self._skipped(
                job_ids, statuses, lambda job: f"job {job.id} is {job.status}: it has ended"
            ),
        )

    async def retry(self, job_id: str) -> None:
        """Run a failed or cancelled job again, with all its attempts.

        Raises JobNotFoundError, and JobNotRetryableError where the job is neither failed nor
        cancelled, or where a live job has its unique key.
        """
        for skipped in (await self.retry_many([job_id])).skipped:
            kind = JobNotFoundError if skipped.status is None else JobNotRetryableError
            raise kind(skipped.reason)

    async def retry_many(self, job_ids: Sequence[str]) -> Changed:
        """Run failed and cancelled jobs again, with all their attempts, in one statement.

        Other jobs are skipped, and so is a job whose unique key belongs to a live one. Of several
        jobs with the same key, the newest is retried.
        """
        statuses = await self._retry(list(dict.fromkeys(job_ids)))
        return Changed(statuses, await self._skipped(job_ids, statuses, _why_not_retried))

    async def _retry(self, job_ids: list[str]) -> dict[str, JobStatus]:
        turn = self._maintain_sql.keys_in_turn()
        try:
            *_, rows = await self._repeatable([*turn, self._maintain_sql.retry(job_ids)])
        except ConstraintViolatedError:
            # Somebody took a key between the statement's look at it and its write. The next look
            # sees that one; in halves, so that an offence that stays one stops nothing else.
            if len(job_ids) == 1:
                return {}
            middle = len(job_ids) // 2
            return await self._retry(job_ids[:middle]) | await self._retry(job_ids[middle:])
        return {job_id: JobStatus(status) for job_id, status in rows}

    async def _skipped(
        self,
        job_ids: Sequence[str],
        changed: Mapping[str, JobStatus],
        why: Callable[[JobSummary], str],
    ) -> list[Skipped]:
        left = [job_id for job_id in dict.fromkeys(job_ids) if job_id not in changed]
        if not left:
            return []
        found = {job.id: job for job in await self.summaries(left)}
        return [
            Skipped(job_id, found[job_id].status, why(found[job_id]))
            if job_id in found
            else Skipped(job_id, None, f"there is no job {job_id}")
            for job_id in left
        ]

    async def _repeatable(self, statements: Iterable[Statement]) -> list[Answer]:
        """Run statements that may safely run twice, all or none → an answer for each."""
        batch = Batch()
        answers = batch.add_all(statements)
        await batch.run_repeatable(self.database)
        return answers


def _claimed(rows: Iterable[Row]) -> list[ClaimedJob]:
    jobs = [ClaimedJob(*row) for row in rows]
    jobs.sort(key=lambda job: (-job.priority, job.scheduled_for, job.id))
    return jobs


def _why_not_retried(job: JobSummary) -> str:
    if job.status not in RETRYABLE:
        return f"job {job.id} is {job.status}: only failed and cancelled jobs can be retried"
    if job.unique_key is None:
        return f"job {job.id} was changed at this moment; try again"
    return (
        f"job {job.id} can't be retried: a live {job.job_name} job has its unique key"
        f" {job.unique_key!r}; cancel that one first"
    )


def _rescue(
    job_id: str,
    fence: int,
    attempt: int,
    policy: str | None,
    worker_id: str | None,
    handler_started_at: datetime | None,
) -> tuple[object, ...]:
    began = "while its handler ran" if handler_started_at else "before its handler began"
    error = AttemptError.new(
        LEASE_EXPIRED,
        f"the lease of {worker_id} expired {began}; it is taken for dead",
        attempt=attempt,
        worker=worker_id,
    )
    delay = RetryPolicy.from_json(policy).delay_seconds(attempt)
    return job_id, fence, error.message, error.as_json(), delay
