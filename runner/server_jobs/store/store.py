"""Job records: the only caller of the statements on jobs, plain data in, plain data out.

Each write by a holder names its claim, and the answer says which writes were accepted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.sql.elements import ColumnElement

from server_jobs.database import Database
from server_jobs.database.base import NothingRanError
from server_jobs.database.batch import Answer, Batch
from server_jobs.errors import (
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    DataRefusedError,
    JobNotFoundError,
    JobNotRetryableError,
)
from server_jobs.records.attempt_error import INVALID_ROW, LEASE_EXPIRED, AttemptError
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
    Withdrawn,
    columns_of,
)
from server_jobs.records.requests import Changed, ClaimRequest, Prunable, Settled, Skipped, Stretch
from server_jobs.records.rows import Claim, ClaimedJob, JobSummary, NewJob
from server_jobs.records.status import LIVE, RETRYABLE, JobStatus
from server_jobs.sql.fit import BLOB_ID, Fit, as_id
from server_jobs.sql.statement import Row, Statement
from server_jobs.sql.tables import tables
from server_jobs.store.chunks import size_of_new, size_of_values
from server_jobs.store.halves import in_halves
from server_jobs.store.left_out import LeftOut
from server_jobs.store.reader import Reader
from server_jobs.store.statements.enqueue import EnqueueStatements
from server_jobs.store.statements.hold import HoldStatements
from server_jobs.store.statements.maintain import ENDS, MaintainStatements
from server_jobs.store.statements.settle import EXPIRED_COLUMNS, SettleStatements
from server_jobs.store.statements.shared import CLAIMED_COLUMNS

_log = logging.getLogger("server_jobs.store")

STAGE_LIMIT = 1_000
RESCUE_LIMIT = 500

_LEFT_OUT_SECONDS = 600.0
_NOT_PRUNED_SECONDS = 86_400.0
_LOOKS = 3
_STAGED_IN_HALVES = 100
"""Each job may take two statements then, and a platform limits how many a turn sends."""

_JOB = tables().jobs.c
_CLAIMED = Fit([_JOB[name] for name in CLAIMED_COLUMNS])
_EXPIRED = Fit([_JOB[name] for name in EXPIRED_COLUMNS])


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
        self._announced = database.capabilities.announces
        self._not_claimed = LeftOut(_LEFT_OUT_SECONDS)
        self._not_staged = LeftOut(_LEFT_OUT_SECONDS)
        self._not_rescued = LeftOut(_LEFT_OUT_SECONDS)
        self._not_pruned = LeftOut(_NOT_PRUNED_SECONDS)

    # ── enqueue ──────────────────────────────────────────────────────────────────────────────

    def enqueue_statement(self, new: Sequence[NewJob], *, two_phase: bool) -> Statement:
        """Return the INSERT itself, for the caller's own transaction.

        PostgreSQL refuses to prepare a transaction that has sent a notification, so none is sent in
        one of ``two_phase``: workers find the jobs when they poll.
        """
        return self._enqueue_sql.enqueue(new, announced=self._announced and not two_phase)

    def find_statement(self, new: NewJob) -> Statement:
        """Return the query for the live job that has the new job's unique key."""
        return self._enqueue_sql.live_by_key([(new.job_name, new.unique_key)])

    async def enqueue(self, new: Sequence[NewJob]) -> list[str]:
        """Insert pending jobs, all or none → their ids, in order.

        Where a live job has the same unique key, the answer has that job's id instead. Calling it
        again with the same jobs is safe: ids that exist are skipped.
        """
        chunks = [
            self._enqueue_sql.enqueue(chunk, announced=self._announced)
            for chunk in self._cut(new, size_of_new)
        ]
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
        return ClaimedJob(*row)  # its values are ours

    # ── claim ────────────────────────────────────────────────────────────────────────────────

    async def claim(self, request: ClaimRequest) -> list[ClaimedJob]:
        """Claim due jobs → at most ``request.limit``, the most urgent first.

        A job whose row can't be worked with fails instead, and takes none of the others along.
        """
        try:
            rows = await self.database.execute(self._hold_sql.claim(request))
        except DataRefusedError:
            rows = await self._without_refused(
                lambda limit: self._hold_sql.claimable(replace(request, limit=limit)),
                lambda job_ids: self._hold_sql.claim_these(request, job_ids),
                request.limit,
                self._not_claimed,
            )
        return await self._claimed(rows, request.worker_id)

    async def _claimed(self, rows: Iterable[Row], worker_id: str) -> list[ClaimedJob]:
        """Make claimed jobs of rows. Those that don't fit their columns are set aside."""
        jobs, misfits = [], []
        for row in rows:
            if _CLAIMED(row):
                jobs.append(ClaimedJob(*row))
            else:
                misfits.append(row)
        if misfits:  # all at once, for the good jobs wait for it
            await asyncio.gather(
                *(
                    self.set_misfit_aside(row[0], _CLAIMED.misfits(row), worker_id=worker_id)
                    for row in misfits
                )
            )
        jobs.sort(key=lambda job: (-job.priority, job.scheduled_for, job.id))
        return jobs

    async def _one_claimed(self, rows: Sequence[Row], worker_id: str) -> ClaimedJob | None:
        claimed = await self._claimed(rows, worker_id)
        return claimed[0] if claimed else None

    async def claim_one(
        self, job_id: str, *, worker_id: str, lease_seconds: float
    ) -> ClaimedJob | None:
        """Claim and start one job → the claimed job; None where it isn't pending or due."""
        rows = await self.database.execute(
            self._hold_sql.claim_one(job_id, worker_id=worker_id, lease_seconds=lease_seconds)
        )
        return await self._one_claimed(rows, worker_id)

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
        return await self._one_claimed(rows, worker_id)

    # ── hold ─────────────────────────────────────────────────────────────────────────────────

    async def heartbeat(self, claims: Sequence[Claim], *, lease_seconds: float) -> dict[str, bool]:
        """Renew leases → by id of each job that is still held, whether it shall be cancelled.

        A lease that the database refuses to renew counts as lost.
        """
        renewed = await in_halves(
            claims,
            lambda held: self.database.execute(
                self._hold_sql.heartbeat(held, lease_seconds=lease_seconds)
            ),
            self._not_written,
        )
        return {job_id: cancel_requested_at is not None for job_id, cancel_requested_at in renewed}

    async def report_progress(self, reports: Mapping[Claim, Progress]) -> set[str]:
        """Write percentages and messages → ids of the jobs that are still held.

        A report that the database refuses is dropped.
        """
        written = await in_halves(
            list(reports),
            lambda some: self.database.execute(
                self._progress({claim: reports[claim] for claim in some})
            ),
            self._not_written,
        )
        return {job_id for (job_id,) in written}

    async def _not_written(self, claim: Claim, error: DataRefusedError) -> None:
        _log.warning("job %s: its lease or progress can't be written: %s", claim.job_id, error)

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
        jobs whose outcome was accepted, by id, and the claimed jobs. Raises DataRefusedError where
        the database refuses one of the rows; then nothing was written.
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
        worker_id = "" if request is None else request.worker_id
        return settled, await self._claimed(claimed, worker_id)

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
            Withdrawn: self._settle_sql.withdraw,
            LaunchLost: self._settle_sql.lose_launch,
            Disrupted: self._settle_sql.disrupt,
        }
        return [
            write[kind](chunk)
            for kind, rows in kinds.items()
            for chunk in self._cut(rows, size_of_values)
        ]

    # ── maintain ─────────────────────────────────────────────────────────────────────────────

    async def stage(self, queues: Sequence[str] = ()) -> int:
        """Make jobs that have become due visible to claims → how many.

        These are at most a thousand, those that have been due for the longest, or a hundred while
        the database refuses some of them. Where there may be more, as many of each of ``queues``
        follow: a crowd of one queue, which perhaps nobody serves, doesn't hold the others up.
        """
        staged, more = await self._stage(None)
        if more:
            for queue in queues:
                staged += (await self._stage(queue))[0]
        return staged

    async def _stage(self, queue: str | None) -> tuple[int, bool]:
        """Stage jobs of one queue or of all → how many, and whether there may be more."""
        try:
            statement = self._maintain_sql.stage(STAGE_LIMIT, queue)
            staged = len(await self.database.execute(statement))
            return staged, staged >= STAGE_LIMIT
        except DataRefusedError:
            changed = await self._without_refused(
                lambda limit: self._maintain_sql.stageable(limit, queue),
                self._maintain_sql.stage_these,
                _STAGED_IN_HALVES,
                self._not_staged,
            )
            return len(changed), True

    async def rescue(self) -> dict[str, Settled]:
        """Take back jobs whose lease has expired → by id, what each became; at most 500.

        A job whose row can't be worked with fails, and isn't in the answer.
        """
        expired = []
        limit = RESCUE_LIMIT + len(self._not_rescued)
        for row in await self.database.execute(self._settle_sql.expired(limit)):
            if as_id(row[0]) in self._not_rescued:
                continue
            if _EXPIRED(row):
                expired.append(_rescue(*row))
            else:
                misfits = _EXPIRED.misfits(row)
                fence = None if "fence" in misfits else row[1]
                if not await self.set_misfit_aside(row[0], misfits, fence=fence, expired=True):
                    self._not_rescued.add(as_id(row[0]))
        refused: dict[str, DataRefusedError] = {}
        fences: dict[str, int] = {one[0]: one[1] for one in expired}
        rows = await in_halves(
            expired,
            lambda some: self.database.execute(self._settle_sql.rescue(some)),
            lambda one, error: _note(refused, one[0], error),
        )
        await self._judge(refused, bool(rows), self._not_rescued, fences)
        return {
            job_id: Settled(JobStatus(status), scheduled_for)
            for job_id, status, scheduled_for in rows
        }

    async def survey(self, prunable: Prunable, *, after: str | None, limit: int) -> Stretch:
        """Look at ``limit`` records by id, from above ``after``; None begins at the first."""
        statement = self._maintain_sql.survey(prunable, after=after, limit=limit)
        ((last_id, rows, *counts),) = await self.database.execute(statement)
        last = after if last_id is None else last_id
        return Stretch(last, rows, dict(zip(ENDS, counts, strict=True)))

    async def prune(
        self, prunable: Prunable, *, after: str | None, to: str
    ) -> dict[str, JobStatus]:
        """Delete prunable jobs with ids above ``after`` and up to ``to`` → the status of each.

        A job that the database refuses to delete, for instance because another table refers to
        it, is left.
        """
        try:
            statement = self._maintain_sql.prune(prunable, after=after, to=to)
            rows = await self.database.execute(statement)
        except DataRefusedError:
            found = await self.database.execute(
                self._maintain_sql.prunable(prunable, after=after, to=to)
            )
            refused: dict[str, DataRefusedError] = {}
            rows = await in_halves(
                [each for each in await self._named(found) if each not in self._not_pruned],
                lambda job_ids: self.database.execute(
                    self._maintain_sql.prune_these(prunable, job_ids)
                ),
                lambda job_id, error: _note(refused, job_id, error),
            )
            for job_id, error in list(refused.items())[:1]:
                text = "%d jobs can't be pruned, %s the first of them: %s"
                _log.warning(text, len(refused), job_id, error)
            for job_id in refused:
                self._not_pruned.add(job_id)
        return {job_id: JobStatus(status) for job_id, status in rows}

    # ── rows that can't be worked with ───────────────────────────────────────────────────────

    async def set_aside(
        self,
        job_id: str,
        problem: str,
        *,
        worker_id: str | None = None,
        fence: int | None = None,
        expired: bool = False,
    ) -> bool:
        """Fail a job whose row can't be worked with → whether it was written.

        ``problem`` says what is wrong with the row. It is written only while the job runs under
        ``worker_id`` and ``fence``, and has an expired lease where ``expired`` says so; without
        any of them, only while it is pending. Raises DatabaseError.
        """
        message = (
            f"{problem}. Another program wrote that: correct it in the table and retry the job, or"
            " let it be pruned"
        )
        error = AttemptError.new(INVALID_ROW, message, worker=worker_id)

        async def write(*, keep_errors: bool) -> bool:
            statement = self._settle_sql.set_aside(
                job_id,
                worker_id=worker_id,
                fence=fence,
                expired=expired,
                error=error.message,
                record=error.as_json(),
                keep_errors=keep_errors,
            )
            return bool(await self.database.execute(statement))

        try:
            written = await write(keep_errors=True)
        except DataRefusedError:
            written = await write(keep_errors=False)
        if written:
            _log.error("job %s fails: %s", job_id, message, extra={"job_id": str(job_id)})
        return written

    async def set_misfit_aside(
        self,
        raw_id: Any,
        misfits: Mapping[str, str],
        *,
        worker_id: str | None = None,
        fence: int | None = None,
        expired: bool = False,
    ) -> bool:
        """Set a running row aside that was read → False where the database refuses that, too.

        Its lease is then left to expire.
        """
        problem = "; ".join(f"column {column} {what}" for column, what in misfits.items())
        try:
            (job_id,) = await self._named([(raw_id,)])
            await self.set_aside(job_id, problem, worker_id=worker_id, fence=fence, expired=expired)
        except DatabaseError as error:
            _log.error("job %s can't be worked with: %s (%s)", raw_id, problem, error)
            return not isinstance(error, DataRefusedError)
        return True

    async def _without_refused(
        self,
        read: Callable[[int], Statement],
        change: Callable[[list[str]], Statement],
        limit: int,
        left_out: LeftOut,
    ) -> list[Row]:
        """Change rows of which the database refuses some → what those of the others return.

        ``read`` finds the ids of so many rows, the first of which it changes. Where all are
        refused it looks at the next ones, a few times.
        """
        refused: dict[str, DataRefusedError] = {}
        changed: list[Row] = []
        for _ in range(_LOOKS):
            found = await self.database.execute(read(limit + len(left_out) + len(refused)))
            wanted = [
                job_id
                for job_id in await self._named(found)
                if job_id not in left_out and job_id not in refused
            ]
            changed = await in_halves(
                wanted[:limit],
                lambda job_ids: self.database.execute(change(job_ids)),
                lambda job_id, error: _note(refused, job_id, error),
            )
            if changed or not wanted or not refused:
                break
        await self._judge(refused, bool(changed), left_out)
        return changed

    async def _judge(
        self,
        refused: Mapping[str, DataRefusedError],
        others_were_changed: bool,
        left_out: LeftOut,
        fences: Mapping[str, int] | None = None,
    ) -> None:
        """Fail rows that the database refuses to change, and leave out those that it won't fail.

        Where it refuses every one of several, the trouble isn't of these rows: none of them fails,
        and the error is raised. ``fences`` has the fences of rows whose lease has expired.
        """
        if len(refused) > 1 and not others_were_changed:
            for job_id in refused:
                left_out.add(job_id)
            first, error = next(iter(refused.items()))
            raise DataRefusedError(
                f"{len(refused)} jobs can't be worked with, {first} the first of them: {error}"
            ) from error
        for job_id, error in refused.items():
            problem = f"the database refuses to change this row: {error}"
            fence = None if fences is None else fences[job_id]
            try:
                await self.set_aside(job_id, problem, fence=fence, expired=fence is not None)
            except DataRefusedError as again:
                left_out.add(job_id)
                _log.error("job %s can't be worked with, nor be failed: %s", job_id, again)

    async def _named(self, rows: Iterable[Row]) -> list[str]:
        """Return the ids that rows begin with, as texts; rows whose id is a BLOB are renamed."""
        job_ids = [row[0] for row in rows]
        if any(isinstance(job_id, bytes) for job_id in job_ids):
            await self._name_blobs()
        return [as_id(job_id) for job_id in job_ids]

    async def _name_blobs(self) -> None:
        try:
            await self.database.execute(self._maintain_sql.name_blobs())
        except DataRefusedError as error:
            _log.error("jobs whose ids are BLOBs can't be renamed: %s", error)

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
        statuses, refused = await self._change(
            job_ids, _CANCEL, lambda some: [self._maintain_sql.cancel(some)]
        )
        skipped = await self._skipped(
            job_ids,
            statuses,
            lambda job: refused.get(job.id) or f"job {job.id} is {job.status}: it has ended",
        )
        return Changed(statuses, skipped)

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
        # A refusal may be somebody's who took a key between the statement's look and its write:
        # the next look, at the halves, sees that one.
        chosen = list(dict.fromkeys(job_ids))
        statuses, refused = await self._change(chosen, _RETRY, self._retry_steps)
        skipped = await self._skipped(
            job_ids, statuses, lambda job: refused.get(job.id) or _why_not_retried(job)
        )
        return Changed(statuses, skipped)

    def _retry_steps(self, job_ids: Sequence[str]) -> list[Statement]:
        return [*self._maintain_sql.keys_in_turn(), self._maintain_sql.retry(job_ids)]

    async def _change(
        self,
        job_ids: Sequence[str],
        done: _Change,
        steps: Callable[[Sequence[str]], list[Statement]],
    ) -> tuple[dict[str, JobStatus], dict[str, str]]:
        """Change jobs → the statuses of those that were, and why the database refused others.

        The last of ``steps`` changes them.
        """
        refused: dict[str, str] = {}
        before = await self._statuses(job_ids)

        async def run(some: list[str]) -> list[Row]:
            batch = Batch()
            *_, answer = batch.add_all(steps(some))
            await batch.run(self.database)
            return answer.rows

        async def write(some: list[str]) -> list[Row]:
            try:
                return await run(some)
            except NothingRanError:
                raise
            except DatabaseUnavailableError:
                rows = await run(some)
            # If only the answer was lost, the second time finds the jobs changed already.
            told = {job_id for job_id, _ in rows}
            now = await self._statuses([job_id for job_id in some if job_id not in told])
            return rows + [
                (job_id, done.status)
                for job_id, status in now.items()
                if done.shows(before.get(job_id), status)
            ]

        async def refuse(job_id: str, error: DataRefusedError) -> None:
            # A key that is taken has a sentence of its own.
            if not isinstance(error, ConstraintViolatedError):
                refused[job_id] = f"job {job_id}: the database refuses to change its row: {error}"

        if any(job_id.startswith(BLOB_ID) for job_id in job_ids):
            await self._name_blobs()
        rows = await in_halves(list(job_ids), write, refuse)
        return {job_id: JobStatus(status) for job_id, status in rows}, refused

    async def _statuses(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        try:
            jobs = await self.summaries(job_ids)
        except DatabaseUnavailableError:
            jobs = await self.summaries(job_ids)
        return {job.id: job.status for job in jobs}

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


async def _note(refused: dict[str, DataRefusedError], job_id: str, error: DataRefusedError) -> None:
    refused[job_id] = error


@dataclass(frozen=True)
class _Change:
    """What a person does to jobs, as it can be told from their statuses before and after."""

    takes: frozenset[JobStatus]
    status: JobStatus
    """What a job becomes at once."""
    leaves: frozenset[JobStatus]
    """The statuses that show it. They are those that nothing else leads to."""

    def shows(self, before: JobStatus | None, now: JobStatus) -> bool:
        return before in self.takes and now in self.leaves


_CANCEL = _Change(LIVE, JobStatus.CANCELLED, frozenset({JobStatus.CANCELLED}))
_RETRY = _Change(RETRYABLE, JobStatus.PENDING, frozenset(JobStatus) - RETRYABLE)


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
) -> tuple[Any, ...]:
    began = "while its handler ran" if handler_started_at else "before its handler began"
    error = AttemptError.new(
        LEASE_EXPIRED,
        f"the lease of {worker_id} expired {began}; it is taken for dead",
        attempt=attempt,
        worker=worker_id,
    )
    delay = RetryPolicy.from_json(policy).delay_seconds(attempt)
    return job_id, fence, error.message, error.as_json(), delay
