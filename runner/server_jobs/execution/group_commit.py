"""Settling in groups: one commit for all that has ended since the last one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from server_jobs.definition.held import Held
from server_jobs.errors import DatabaseError, DatabaseUnavailableError, DataRefusedError
from server_jobs.records.outcomes import Completed, Failed, Outcome, Progress
from server_jobs.records.requests import Claim, Settled
from server_jobs.records.rows import AttemptError, ClaimedJob, Lease
from server_jobs.records.status import JobStatus
from server_jobs.records.text import clean
from server_jobs.store.store import Store

_log = logging.getLogger("server_jobs.group_commit")


@dataclass(frozen=True, slots=True)
class Over:
    """An outcome that is no longer ours to settle, and what its job has become by it.

    No status is a lease that was lost. A release may have become ``failed``, and what isn't a
    completion ``cancelled``: the outcome is what was meant.
    """

    outcome: Outcome
    status: JobStatus | None

    @property
    def accepted(self) -> Outcome | None:
        """The outcome; None where the lease was lost."""
        return None if self.status is None else self.outcome


class GroupCommit:
    """Outcomes that wait to be written. Their leases are to be kept until they are.

    A commit whose answer was lost is looked up before it is tried again. An outcome whose values
    the database refuses fails its own job, and no other. Where it refuses for another reason (a
    privilege was revoked, say), the outcomes go on waiting: the work has been done.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[Lease, Outcome] = {}
        self._reports: dict[Lease, Progress] = {}
        self._uncertain: set[Lease] = set()
        self._over: dict[Lease, Over] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting or self._over)

    def add(self, lease: Lease, outcome: Outcome, progress: Progress | None = None) -> None:
        """An execution has ended so, with this progress not written yet."""
        self._waiting[lease] = outcome
        if progress is not None:
            self._reports[lease] = progress

    async def commit(self, claim: Claim | None) -> tuple[dict[Lease, Over], list[ClaimedJob]]:
        """Write what waits, and claim the next in the same commit.

        The answer has what is no longer ours to settle. Raises DatabaseUnavailableError, and
        DatabaseError where the claim is refused or the database takes no outcomes just now; then
        the next answer has what was settled until then.
        """
        if self._uncertain:
            await self._look_up()
        group = dict(self._waiting)
        claimed: list[ClaimedJob] = []
        if group or claim is not None:
            try:
                settled, claimed = await self._store.settle_and_claim(
                    group, claim, self._reports_of(group)
                )
                self._done(group, _statuses(settled))
            except (DatabaseUnavailableError, asyncio.CancelledError):
                self._uncertain |= group.keys()
                raise
            except DatabaseError:
                # Nothing was written, the claim neither. Whose fault was it?
                if not await self._settle_without_refused(group):
                    raise
        over, self._over = self._over, {}
        return over, claimed

    async def _look_up(self) -> None:
        """Which of the uncertain commits did happen."""
        uncertain = [lease for lease in self._uncertain if lease in self._waiting]
        statuses = await self._store.settled(uncertain)
        self._uncertain.clear()
        for lease in uncertain:
            status = statuses.get(lease.job_id)
            # A rescue leaves the fence as it was, but completes nothing.
            completed = isinstance(self._waiting[lease], Completed)
            if status is not None and completed == (status is JobStatus.COMPLETED):
                self._done({lease: self._waiting[lease]}, statuses)

    async def _settle_without_refused(self, group: Mapping[Lease, Outcome]) -> bool:
        """Settle a group, half by half where it is refused → whether any outcome was."""
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
                (lease,) = group
                await self._refuse(lease, error)
            else:
                # The database's state, not this outcome. It waits, behind the others: if it is
                # the only one after all, they are settled before it is asked for again.
                (lease,) = group
                self._waiting[lease] = self._waiting.pop(lease)
                raise
            return True

    async def _refuse(self, lease: Lease, error: DatabaseError) -> None:
        """Fail the job whose outcome the database doesn't take, with what it said."""
        _log.error("job %s: its outcome can't be stored: %s", lease.job_id, error)
        refused = Failed(
            AttemptError(
                attempt=0,
                at=None,
                type=type(error).__name__,
                message=clean(f"the outcome can't be stored: {error}"),
                traceback="",
                worker="",
            ),
            permanent=True,
        )
        self._waiting[lease] = refused
        self._reports.pop(lease, None)
        try:
            self._done({lease: refused}, _statuses(await self._store.settle({lease: refused})))
        except (DatabaseUnavailableError, asyncio.CancelledError):
            self._uncertain.add(lease)
            raise
        except DataRefusedError as again:
            _log.error(
                "job %s: its failure neither; the lease will expire: %s", lease.job_id, again
            )
            self._done({lease: refused}, {})

    def _done(self, group: Mapping[Lease, Outcome], statuses: Mapping[str, JobStatus]) -> None:
        for lease, outcome in group.items():
            self._waiting.pop(lease, None)
            self._reports.pop(lease, None)
            self._over[lease] = Over(outcome, statuses.get(lease.job_id))

    def _reports_of(self, group: Mapping[Lease, Outcome]) -> dict[Lease, Progress]:
        return {lease: self._reports[lease] for lease in group if lease in self._reports}


def _statuses(settled: Mapping[str, Settled]) -> dict[str, JobStatus]:
    return {job_id: each.status for job_id, each in settled.items()}


async def settle_alone(
    store: Store, held: Held, outcome: Outcome, *, patience: float = 4.0
) -> Outcome | None:
    """Settle one job by the rules of a group → the outcome that was accepted, None where lost.

    It is another than was given where the database refused that. An outage is waited out for
    so many seconds; then raises DatabaseError, and the lease is left to expire.
    """
    group = GroupCommit(store)
    group.add(held.lease, outcome, held.unwritten_progress)
    waited, pause = 0.0, 0.05
    while True:
        try:
            return (await group.commit(None))[0][held.lease].accepted
        except DatabaseError as error:
            if waited + pause > patience:
                raise
            _log.warning("job %s can't be settled just now: %s", held.lease.job_id, error)
        await asyncio.sleep(pause)
        waited, pause = waited + pause, min(pause * 4, 3.0)
