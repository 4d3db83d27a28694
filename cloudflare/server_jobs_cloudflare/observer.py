"""Counts and logs what becomes of a tick's jobs."""

from __future__ import annotations

from collections.abc import Callable

from server_jobs.execution.group_commit import Over
from server_jobs.records.outcomes import Outcome
from server_jobs.records.rows import Claim, ClaimedJob
from server_jobs_cloudflare.budget import TickBudget
from server_jobs_cloudflare.summary import LOST, TickSummary, say_job, status_of


class TickObserver:
    """Counts in the tick's summary, and writes one line for each execution.

    ``broke`` is called with the exception of an execution that a handler's exception didn't end.
    """

    def __init__(
        self, summary: TickSummary, budget: TickBudget, broke: Callable[[BaseException], None]
    ) -> None:
        self._summary = summary
        self._budget = budget
        self._broke = broke
        self._ended: dict[Claim, tuple[ClaimedJob, float]] = {}

    def job_began(self, job: ClaimedJob) -> None:
        if not self._summary.claimed:
            self._budget.first_job_begins()
        self._summary.claimed += 1

    def job_ended(self, job: ClaimedJob, outcome: Outcome, seconds: float) -> None:
        self._ended[job.claim] = (job, seconds)

    def job_settled(self, claim: Claim, over: Over) -> None:
        job, seconds = self._ended.pop(claim)
        status = status_of(over.outcome, over.status)
        self._summary.count(status)
        say_job(job, status, seconds, over.outcome)

    def lease_lost(self, job: ClaimedJob, seconds: float) -> None:
        self._summary.count(LOST)
        say_job(job, LOST, seconds)

    def execution_broke(self, job: ClaimedJob, error: BaseException) -> None:
        if not isinstance(error, Exception):  # the platform's: nothing is settled any more
            self._summary.unsettled += 1
        self._broke(error)
