"""The checks of ``doctor``: one function for each question. Each has one finding or more."""

from __future__ import annotations

import shlex
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from server_jobs.cli.durations import in_words
from server_jobs.database import Database
from server_jobs.errors import ServerJobsError
from server_jobs.monitoring.monitor import Activity, LiveJobs, LiveKind, Monitor
from server_jobs.store.store import Store

SEEN_WITHIN = 3_600.0
WAITS_TOO_LONG = 60.0
FALLS_BEHIND = 300.0
LEFT_EXPIRED = 10.0
CLOCKS_APART = 1.0

_CALLERS = {"now", "batch", "execute"}
"""Backends of programs that run their own job at once, and serve no queue."""


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """A line that says what was found, and advice."""

    check: str
    level: Level
    text: str
    advice: str = ""


@dataclass
class Patient:
    """The database that is examined, and what the earlier checks learned of it."""

    database: Database
    known: frozenset[str] | None
    quick_check: bool = False
    live: Sequence[LiveJobs] = field(default_factory=list)
    seen: Sequence[Activity] = field(default_factory=list)

    @property
    def workers(self) -> list[Activity]:
        """The signs of life of workers that serve queues."""
        return [sign for sign in self.seen if sign.worker_id.split("/")[0] not in _CALLERS]


Check = Callable[[Patient], AsyncIterator[Finding]]


async def reachable(patient: Patient) -> AsyncIterator[Finding]:
    """Check whether the database answers, how fast, and whether its clock agrees with ours."""
    store = Store(patient.database)
    try:
        await store.clock()  # opens the connection
    except ServerJobsError as error:
        yield Finding(
            "database", Level.FAIL, str(error), "check that it is up, and that --database is right"
        )
        return
    before, began = time.time(), time.perf_counter()
    there = await store.clock()
    took = time.perf_counter() - began
    yield Finding("database", Level.OK, f"{patient.database!r} answers in {took * 1_000:.1f} ms")
    yield clock_finding(there.timestamp() - (before + took / 2), took)


def clock_finding(ahead: float, round_trip: float) -> Finding:
    """Return the finding about a clock that is so many seconds ahead of ours.

    The measurement took ``round_trip`` seconds, and is uncertain by half of that.
    """
    # The measurement is uncertain by half of the round trip, and SQLite's clock has milliseconds.
    if abs(ahead) - round_trip / 2 < CLOCKS_APART:
        return Finding("clock", Level.OK, f"the database's clock is {ahead:+.3f} s from this one")
    which = "ahead of" if ahead > 0 else "behind"
    return Finding(
        "clock",
        Level.WARN,
        f"the database's clock is {in_words(abs(ahead))} {which} this machine's: due times and"
        " leases go by the database's, so scheduled_for= from here is off by as much",
        "synchronise both clocks (NTP), or enqueue with delay=, which the database adds",
    )


async def schema(patient: Patient) -> AsyncIterator[Finding]:
    """Check whether the tables exist, in a version that this release can use."""
    try:
        await Store(patient.database).check_schema()
    except ServerJobsError as error:
        yield Finding("schema", Level.FAIL, str(error), "see `server-jobs migrate --help`")
        return
    yield Finding("schema", Level.OK, "the tables are what this release needs")


async def workers(patient: Patient) -> AsyncIterator[Finding]:
    """Report which workers there are, by the jobs that they hold or have ended."""
    monitor = Monitor(patient.database)
    patient.live, patient.seen = await monitor.live(), await monitor.activity(SEEN_WITHIN)
    if not patient.workers:
        yield Finding(
            "workers",
            Level.OK,
            f"no worker has run a job in the last {in_words(SEEN_WITHIN)}; a worker without jobs"
            " leaves no trace",
        )
    for worker in dict.fromkeys(sign.worker_id for sign in patient.workers):
        signs = [sign for sign in patient.workers if sign.worker_id == worker]
        held = sum(sign.count for sign in signs if sign.running)
        ended = sum(sign.count for sign in signs if not sign.running)
        last = min(sign.seconds for sign in signs)
        yield Finding(
            "workers",
            Level.OK,
            f"{worker}{_host(worker)} holds {_jobs(held)} and ended {ended:,} in the last"
            f" {in_words(SEEN_WITHIN)}; last sign of life {in_words(max(0.0, last))} ago",
        )


def _host(worker_id: str) -> str:
    """Return the host and process of a worker, if its id has the form that we give."""
    parts = worker_id.split("/")
    return f" (host {parts[1]}, pid {parts[2]})" if len(parts) == 4 else ""


def _jobs(count: int, name: str = "") -> str:
    return f"{count:,} {name + ' ' if name else ''}job" + ("" if count == 1 else "s")


async def leases(patient: Patient) -> AsyncIterator[Finding]:
    """Check whether jobs still run under leases that have expired."""
    expired = [jobs for jobs in patient.live if jobs.kind is LiveKind.EXPIRED]
    running = sum(jobs.count for jobs in patient.live if jobs.kind is LiveKind.RUNNING)
    oldest = max((jobs.seconds for jobs in expired), default=0.0)
    if oldest <= LEFT_EXPIRED:
        yield Finding("leases", Level.OK, f"{_jobs(running)} under valid leases")
        return
    yield Finding(
        "leases",
        Level.WARN,
        f"{_jobs(sum(jobs.count for jobs in expired))} left running under leases that have expired,"
        f" the first one {in_words(oldest)} ago",
        "no worker runs: start one, of any queue, and it rescues these jobs within a second",
    )


async def due(patient: Patient) -> AsyncIterator[Finding]:
    """Check whether due jobs wait unusually long for a worker."""
    queues = {sign.queue for sign in patient.workers}
    names = {(sign.queue, sign.job_name) for sign in patient.workers}
    waiting = [jobs for jobs in patient.live if jobs.kind is LiveKind.DUE]
    found = False
    for jobs in waiting:
        if patient.known is not None and jobs.job_name not in patient.known:
            continue  # app_names() reports it
        what = (
            f"{_jobs(jobs.count, jobs.job_name)} due in queue {jobs.queue}, the oldest for"
            f" {in_words(jobs.seconds)}"
        )
        if jobs.queue not in queues and jobs.seconds > WAITS_TOO_LONG:
            what += f"; no worker has run a job of that queue in the last {in_words(SEEN_WITHIN)}"
            advice = f"start one: `server-jobs worker --queue {shlex.quote(jobs.queue)}`"
        elif (jobs.queue, jobs.job_name) not in names and jobs.seconds > WAITS_TOO_LONG:
            what += "; workers of that queue have run others, but none of that name"
            advice = "check that their app has it, and restart them with code that does"
        elif jobs.seconds > FALLS_BEHIND:
            advice = "the workers fall behind: start more, or raise --concurrency"
        else:
            continue
        found = True
        yield Finding("due", Level.WARN, what, advice)
    if not found:
        count = sum(jobs.count for jobs in waiting)
        yield Finding("due", Level.OK, f"{_jobs(count)} due, none unusually long")


async def app_names(patient: Patient) -> AsyncIterator[Finding]:
    """Check whether pending or running jobs have a name that the app doesn't have."""
    if patient.known is None:
        return
    unknown = sorted({jobs.job_name for jobs in patient.live} - patient.known)
    for name in unknown:
        count = sum(jobs.count for jobs in patient.live if jobs.job_name == name)
        yield Finding(
            "names",
            Level.WARN,
            f"{_jobs(count, name)} pending or running, a name that the app doesn't have",
            "start a worker whose app has it, or cancel these jobs:"
            f" `server-jobs cancel --name {shlex.quote(name)}`",
        )
    if not unknown:
        yield Finding("names", Level.OK, "every live job's name is in the app")
