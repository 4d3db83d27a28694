"""Settles jobs in groups: one commit writes all outcomes since the last one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from server_jobs.definition.held import Held
from server_jobs.errors import DatabaseError, DatabaseUnavailableError, DataRefusedError
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.outcomes import Completed, Failed, Outcome, Progress
from server_jobs.records.requests import ClaimRequest, Settled
from server_jobs.records.rows import Claim, ClaimedJob
from server_jobs.records.status import JobStatus
from server_jobs.store.store import Store

_log = logging.getLogger("server_jobs.group_commit")


@dataclass(frozen=True, slots=True)
class Over:
    """An outcome that needs no more settling, and the status of its job afterwards.

    A status of None means that the lease was lost and nothing was written. The status may differ
    from the outcome: a job that was given back too often is ``failed``, and one whose cancellation
    was requested is ``cancelled`` unless it completed.
    """

    outcome: Outcome
    status: JobStatus | None

    @property
    def accepted(self) -> Outcome | None:
        """The outcome as it was written; None where the lease was lost."""
        return None if self.status is None else self.outcome


class GroupCommit:
    """Outcomes that wait to be written. The caller keeps their leases until they are.

    If the answer to a commit is lost, it looks up what was written before it tries again. An
    outcome whose values the database refuses fails its own job and no other. If the database
    refuses for another reason, for instance a revoked privilege, the outcomes wait: the work has
    been done.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[Claim, Outcome] = {}
        self._reports: dict[Claim, Progress] = {}
        self._uncertain: set[Claim] = set()
        self._over: dict[Claim, Over] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting or self._over)

    def add(self, claim: Claim, outcome: Outcome, progress: Progress | None = None) -> None:
        """Let an outcome wait, with the last progress if that hasn't been written yet."""
        self._waiting[claim] = outcome
        if progress is not None:
            self._reports[claim] = progress

    async def commit(
        self, request: ClaimRequest | None
    ) -> tuple[dict[Claim, Over], list[ClaimedJob]]:
        """Write the outcomes that wait, and claim the next jobs in the same commit.

        Where the database refuses one of the rows, the claim follows in a commit of its own.

        Returns what has been settled by now, and the claimed jobs. Raises DatabaseUnavailableError,
        and DatabaseError where the claim is refused or the database takes no outcomes just now;
        what was settled nevertheless is in the answer to the next commit.
        """
        if self._uncertain:
            await self._look_up()
        group = dict(self._waiting)
        claimed: list[ClaimedJob] = []
        if group or request is not None:
            try:
                settled, claimed = await self._store.settle_and_claim(
                    group, request, self._reports_of(group)
                )
                self._done(group, _statuses(settled))
            except (DatabaseUnavailableError, asyncio.CancelledError):
                self._uncertain |= group.keys()
                raise
            except DatabaseError as error:
                # Nothing was written, and nothing claimed. Find out what was refused.
                refused = await self._settle_without_refused(group) if group else False
                if request is not None and isinstance(error, DataRefusedError):
                    claimed = await self._store.claim(request)
                elif not refused:
                    raise
        over, self._over = self._over, {}
        return over, claimed

    async def _look_up(self) -> None:
        """Find out which outcomes of unanswered commits were written."""
        uncertain = [claim for claim in self._uncertain if claim in self._waiting]
        statuses = await self._store.settled(uncertain)
        self._uncertain.clear()
        for claim in uncertain:
            status = statuses.get(claim.job_id)
            # The fence alone doesn't tell: a rescue leaves it, but it completes no job.
            completed = isinstance(self._waiting[claim], Completed)
            if status is not None and completed == (status is JobStatus.COMPLETED):
                self._done({claim: self._waiting[claim]}, statuses)

    async def _settle_without_refused(self, group: Mapping[Claim, Outcome]) -> bool:
        """Settle a group, and its halves by themselves where it is refused.

        Returns whether an outcome was refused. If none was, the claim was at fault.
        """
        try:
            settled = await self._store.settle(group, self._reports_of(group))
            self._done(group, _statuses(settled))
            return False
        except (DatabaseUnavailableError, asyncio.CancelledError):
            self._uncertain |= group.keys()
            raise
        except DatabaseError as error:
            if len(group) > 1:
                items = list(group.items())
                for half in (items[: len(items) // 2], items[len(items) // 2 :]):
                    await self._settle_without_refused(dict(half))
            elif isinstance(error, DataRefusedError):
                (claim,) = group
                await self._refuse(claim, error)
            else:
                # The database's state is at fault, not these values. This outcome waits behind
                # the others: if it is refused alone after all, they are settled before it is tried
                # again.
                (claim,) = group
                self._waiting[claim] = self._waiting.pop(claim)
                raise
            return True

    async def _refuse(self, claim: Claim, error: DatabaseError) -> None:
        """Fail the job whose outcome the database refuses, with the database's message."""
        _log.error("job %s: its outcome can't be stored: %s", claim.job_id, error)
        refused = Failed(
            AttemptError.new(type(error).__name__, f"the outcome can't be stored: {error}"),
            permanent=True,
        )
        self._waiting[claim] = refused
        self._reports.pop(claim, None)
        try:
            self._done({claim: refused}, _statuses(await self._store.settle({claim: refused})))
        except (DatabaseUnavailableError, asyncio.CancelledError):
            self._uncertain.add(claim)
            raise
        except DataRefusedError as again:
            await self._set_aside(claim, refused, again)

    async def _set_aside(self, claim: Claim, refused: Failed, error: DataRefusedError) -> None:
        """Fail the job whose row can't be settled at all, or leave its lease to expire."""
        statuses: dict[str, JobStatus] = {}
        problem = f"its failure can't be stored: {error}"
        try:
            if await self._store.set_aside(claim.job_id, problem, fence=claim.fence):
                statuses[claim.job_id] = JobStatus.FAILED
        except DataRefusedError:
            _log.error("job %s: %s; the lease will expire", claim.job_id, problem)
        self._done({claim: refused}, statuses)

    def _done(self, group: Mapping[Claim, Outcome], statuses: Mapping[str, JobStatus]) -> None:
        for claim, outcome in group.items():
            self._waiting.pop(claim, None)
            self._reports.pop(claim, None)
            self._over[claim] = Over(outcome, statuses.get(claim.job_id))

    def _reports_of(self, group: Mapping[Claim, Outcome]) -> dict[Claim, Progress]:
        return {claim: self._reports[claim] for claim in group if claim in self._reports}


def _statuses(settled: Mapping[str, Settled]) -> dict[str, JobStatus]:
    return {job_id: each.status for job_id, each in settled.items()}


async def settle_alone(
    store: Store, held: Held, outcome: Outcome, *, patience: float = 4.0
) -> Outcome | None:
    """Settle one job by the rules of a group → the outcome that was written.

    None means that the lease was lost. If the database refuses the values of the given outcome, a
    failure is written instead. An outage is waited out for ``patience`` seconds. After that it
    raises DatabaseError, and the lease is left to expire.
    """
    group = GroupCommit(store)
    group.add(held.claim, outcome, held.unwritten_progress)
    waited, pause = 0.0, 0.05
    while True:
        try:
            return (await group.commit(None))[0][held.claim].accepted
        except DatabaseError as error:
            if waited + pause > patience:
                raise
            _log.warning("job %s can't be settled just now: %s", held.claim.job_id, error)
        await asyncio.sleep(pause)
        waited, pause = waited + pause, min(pause * 4, 3.0)
