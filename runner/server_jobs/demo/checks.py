"""Compares what the demo promises with the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from server_jobs import JobRecord, JobStatus
from server_jobs.demo.crew import Worker
from server_jobs.demo.jobs import PrimesCounted, Report
from server_jobs.demo.modules import ModuleStatistics
from server_jobs.demo.scenario import FAILURES, PRIMES_BELOW, Cast, Facts
from server_jobs.records.attempt_error import LEASE_EXPIRED

_PRIMES = {200_000: 17_984}
"""How many primes there are below a number, from https://oeis.org/A000720."""


@dataclass(frozen=True, slots=True)
class Check:
    """Holds a promise, and the facts that contradict it."""

    promise: str
    objections: Sequence[str]

    @property
    def holds(self) -> bool:
        """Whether no fact contradicts the promise."""
        return not self.objections


@dataclass(frozen=True, slots=True)
class Evidence:
    """Holds everything that the checks look at."""

    cast: Cast
    facts: Facts
    records: Mapping[str, JobRecord]
    workers: Sequence[Worker]


def check(evidence: Evidence) -> list[Check]:
    """Check every promise."""
    return [Check(promise, _objections(find, evidence)) for promise, find in _PROMISES.items()]


def _objections(find: Callable[[Evidence], Iterator[str]], evidence: Evidence) -> list[str]:
    try:
        return list(find(evidence))
    except KeyError as missing:
        return [f"job {missing.args[0]} isn't there"]


def _every_job_completed(evidence: Evidence) -> Iterator[str]:
    for job_id in evidence.cast.all - evidence.records.keys():
        yield f"job {job_id} was enqueued and isn't there"
    for record in evidence.records.values():
        if record.status is not JobStatus.COMPLETED:
            reason = f": {record.error}" if record.error else ""
            yield f"{record.job_name} {record.id} is {record.status}{reason}"


def _completed_once(evidence: Evidence) -> Iterator[str]:
    """Find jobs that more than one claim completed.

    The fence counts claims, and each claim but the one that completed must have left an error.
    """
    for record in evidence.records.values():
        # A postponed job (RetryLater), or one that a worker gave back, leaves no error.
        if record.id == evidence.cast.report or record.release_count:
            continue
        completions = record.fence - len(record.attempt_errors)
        if record.status is JobStatus.COMPLETED and completions != 1:
            yield f"{record.job_name} {record.id} was completed by {completions} claims"


def _flaky_took_three(evidence: Evidence) -> Iterator[str]:
    record = evidence.records[evidence.cast.flaky]
    if record.attempt_count != FAILURES + 1:
        yield f"it took {record.attempt_count}"


def _reminder_kept_its_time(evidence: Evidence) -> Iterator[str]:
    record, due_at = evidence.records[evidence.cast.reminder], evidence.facts.reminder_due_at
    if due_at is None or record.handler_started_at is None:
        yield "it didn't run"
    elif record.handler_started_at < due_at:
        yield f"it ran {(due_at - record.handler_started_at).total_seconds():.3f} s early"


def _killed_one_was_rescued(evidence: Evidence) -> Iterator[str]:
    record, kill = evidence.records[evidence.cast.primes], evidence.facts.kill
    if kill is None:
        yield "no worker was killed"
        return
    fence = kill.fence_of(record.id)
    lost = [error for error in record.attempt_errors if error.type == LEASE_EXPIRED]
    if fence != 1:
        yield f"it was to be killed at fence 1, and was at {fence}"
    if record.fence != 2 or record.attempt_count != 2:
        yield f"it ended at fence {record.fence} on attempt {record.attempt_count}"
    if [error.worker for error in lost] != [kill.worker_id]:
        yield f"its errors don't say that {kill.worker_id} was lost"
    if record.worker_id == kill.worker_id:
        yield "the dead worker completed it"


def _primes_are_right(evidence: Evidence) -> Iterator[str]:
    record = evidence.records[evidence.cast.primes]
    if record.result is None:
        yield "there is no result"
        return
    counted = PrimesCounted.model_validate_json(record.result).primes
    if counted != _PRIMES[PRIMES_BELOW]:
        yield f"it counted {counted:,}, there are {_PRIMES[PRIMES_BELOW]:,}"


def _report_adds_up(evidence: Evidence) -> Iterator[str]:
    record = evidence.records[evidence.cast.report]
    if record.result is None:
        yield "there is no report"
        return
    report = Report.model_validate_json(record.result)
    modules = [
        ModuleStatistics.model_validate_json(module.result)
        for job_id in evidence.cast.modules
        if (module := evidence.records.get(job_id)) and module.result is not None
    ]
    for what, reported, counted in (
        ("modules", report.modules - len(report.without_result), len(modules)),
        ("lines", report.lines, sum(module.lines for module in modules)),
        ("functions", report.functions, sum(module.functions for module in modules)),
        ("unparsable files", len(report.unparsable), sum(m.problem is not None for m in modules)),
    ):
        if reported != counted:
            yield f"it says {reported:,} {what}, the rows {counted:,}"


def _workers_stopped(evidence: Evidence) -> Iterator[str]:
    for worker in evidence.workers:
        status = worker.process.returncode
        if not worker.was_killed and status != 0:
            yield f"{worker} ended with status {status}"


_PROMISES: Mapping[str, Callable[[Evidence], Iterator[str]]] = {
    "every job is completed": _every_job_completed,
    "each was completed once, by one claim": _completed_once,
    f"the flaky one took {FAILURES + 1} attempts": _flaky_took_three,
    "the delayed one didn't run before its time": _reminder_kept_its_time,
    "the killed one ran again, fenced off from the first: 1, 2": _killed_one_was_rescued,
    "its result is right": _primes_are_right,
    "the report is what the rows add up to": _report_adds_up,
    "workers that were asked to stop did": _workers_stopped,
}
