"""Settling in groups: one commit for all that has ended since the last one."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping

from server_jobs.errors import DatabaseError, DatabaseUnavailableError
from server_jobs.execution import clean
from server_jobs.records import AttemptError, ClaimedJob
from server_jobs.store import Claim, Failed, Lease, Outcome, Progress, Store

_log = logging.getLogger("server_jobs.group_commit")


class GroupCommit:
    """Outcomes that wait to be written. Their leases are to be kept until they are.

    A commit whose answer was lost is looked up before it is tried again. An outcome that the
    database refuses fails its own job, and no other.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[Lease, Outcome] = {}
        self._reports: dict[Lease, Progress] = {}
        self._uncertain: set[Lease] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, lease: Lease, outcome: Outcome, progress: Progress | None = None) -> None:
        """An execution has ended so, with this progress not written yet."""
        self._waiting[lease] = outcome
        if progress is not None:
            self._reports[lease] = progress

    async def commit(
        self, claim: Claim | None
    ) -> tuple[dict[Lease, Outcome | None], list[ClaimedJob]]:
        """Write what waits, and claim the next in the same commit.

        The answer has what is no longer ours to settle: each lease with its outcome, or with
        None where it was lost. Raises DatabaseUnavailableError; then everything still waits.
        """
        found: dict[Lease, Outcome | None] = {}
        if self._uncertain:
            found = await self._look_up()
        group = dict(self._waiting)
        if not group and claim is None:
            return found, []
        try:
            settled, claimed = await self._store.settle_and_claim(
                group, claim, self._reports_of(group)
            )
        except DatabaseUnavailableError:
            self._uncertain |= group.keys()
            raise
        except DatabaseError as error:
            # Nothing was written, the claim neither; the next cycle claims.
            return found | await self._bisect(group, error), []
        return found | self._done(group, settled), claimed

    async def _look_up(self) -> dict[Lease, Outcome | None]:
        """Which of the uncertain commits did happen."""
        uncertain = {
            lease: self._waiting[lease] for lease in self._uncertain if lease in self._waiting
        }
        settled = await self._store.settled(uncertain)
        self._uncertain.clear()
        return self._done(
            {lease: outcome for lease, outcome in uncertain.items() if lease.job_id in settled},
            settled,
        )

    async def _bisect(
        self, group: Mapping[Lease, Outcome], error: DatabaseError
    ) -> dict[Lease, Outcome | None]:
        """Find the outcome that the database refuses, and fail its job with the refusal."""
        if len(group) == 1:
            (lease,) = group
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
            settled = await self._store.settle({lease: refused})
            self._forget(lease)
            return {lease: refused if lease.job_id in settled else None}
        items = list(group.items())
        done: dict[Lease, Outcome | None] = {}
        for half in (dict(items[: len(items) // 2]), dict(items[len(items) // 2 :])):
            try:
                done |= self._done(half, await self._store.settle(half, self._reports_of(half)))
            except DatabaseUnavailableError:
                self._uncertain |= half.keys()
                raise
            except DatabaseError as refusal:
                done |= await self._bisect(half, refusal)
        return done

    def _done(
        self, group: Mapping[Lease, Outcome], settled: Container[str]
    ) -> dict[Lease, Outcome | None]:
        done: dict[Lease, Outcome | None] = {}
        for lease, outcome in group.items():
            self._forget(lease)
            done[lease] = outcome if lease.job_id in settled else None
        return done

    def _reports_of(self, group: Mapping[Lease, Outcome]) -> dict[Lease, Progress]:
        return {lease: self._reports[lease] for lease in group if lease in self._reports}

    def _forget(self, lease: Lease) -> None:
        self._waiting.pop(lease, None)
        self._reports.pop(lease, None)
