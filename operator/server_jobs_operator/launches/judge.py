"""What is to be done about a launch, by its row and its Kubernetes Job. Pure.

The rows of the table in DESIGN's section on Kubernetes, as one function: who died where, what is
written into the record, and what becomes of the Job.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from server_jobs.launches.launch import Launch
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.backoff import RetryPolicy, launch_backoff
from server_jobs.records.outcomes import Abandoned, Disrupted, Failed, LaunchLost, Outcome
from server_jobs.records.status import JobStatus
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.cluster.reasons import DISRUPTIONS, Finding, Reason
from server_jobs_operator.resources.specs import JobRunnerSpec

LEAVING_SECONDS = 15.0
"""What a pod gets to end in once its record is settled, before its Job is deleted."""

_LONGEST_MESSAGE = 2_000


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to write, what to do with the Job, and when to look again (seconds)."""

    outcome: Outcome | None = None
    reason: Reason | None = None
    delete: bool = False
    expire: bool = False
    """Its Job is over and its record settled: the Job may go after the runner's time to live."""
    again: float | None = None


NOTHING = Judgement()


def judge(
    job: KnownJob | None,
    launch: Launch | None,
    spec: JobRunnerSpec | None,
    *,
    now: datetime,
    moment: float,
    gone: bool = False,
    missing_since: float | None = None,
) -> Judgement:
    """Decide on one launch.

    ``gone`` says that there is no such Job any more (``job`` is how it was last seen, if it was;
    if not, it has been missed since ``missing_since``); ``launch`` was read after that was known,
    and is None where its row is gone. ``now`` is the database's clock, ``moment`` the process's.
    """
    gone = gone or job is None
    if launch is None or launch.status is not JobStatus.RUNNING:
        return NOTHING if gone or job is None else _over(job, launch, moment)
    if job is not None and launch.claim != job.claim:
        # Of an older claim: whatever it does is refused. One that is over keeps its log a while.
        return NOTHING if gone else Judgement(expire=job.finished, delete=not job.finished)
    ended = gone or (job is not None and job.finished)
    if gone and launch.begun and (left := _still_leaving(job, spec, moment, missing_since)) > 0:
        return Judgement(again=left)  # its runner may be writing the truth just now
    if launch.cancel_requested_at is not None:
        if ended or not launch.begun:
            return Judgement(Abandoned("cancelled on request"), delete=not gone)
        return Judgement(delete=True, again=5.0)  # its runner writes that, once it is told to end
    found = job.finding if job is not None else None
    if ended:
        why = found if found is not None and found.final else _vanished(job, gone)
        if launch.begun and why.reason is Reason.SCHEMA_MISMATCH:
            why = replace(why, reason=Reason.EXIT_CODE)  # a handler may end like that, too
        return _lose(launch, spec, why)
    if launch.begun or job is None:
        return NOTHING
    return _launching(job, launch, spec, now=now, moment=moment)


def _still_leaving(
    job: KnownJob | None,
    spec: JobRunnerSpec | None,
    moment: float,
    missing_since: float | None,
) -> float:
    """For how long the pod of a Job that was deleted may take to end, in seconds from now."""
    since = missing_since if job is None else job.gone_at
    if since is None or (job is not None and job.finding and job.finding.reason in _OF_AN_END):
        return 0.0
    known = job.grace_seconds if job is not None and spec is None else None
    grace = (spec or _DEFAULTS).grace_period_seconds if known is None else known
    return since + grace + LEAVING_SECONDS - moment


_OF_AN_END = frozenset({Reason.EXIT_CODE, Reason.OOM_KILLED, Reason.SCHEMA_MISMATCH})
"""What is read off a container that has ended. A pod that is taken down may not have yet."""


def _over(job: KnownJob, launch: Launch | None, moment: float) -> Judgement:
    if job.finished:
        return Judgement(expire=True)
    if launch is None or launch.claim != job.claim or launch.status is JobStatus.CANCELLED:
        return Judgement(delete=True)
    if job.settled_at is None:
        return Judgement(again=LEAVING_SECONDS)
    left = job.settled_at + LEAVING_SECONDS - moment
    return Judgement(delete=True) if left <= 0 else Judgement(again=left)


def _launching(
    job: KnownJob, launch: Launch, spec: JobRunnerSpec | None, *, now: datetime, moment: float
) -> Judgement:
    limits = spec or _DEFAULTS
    if job.waits:
        return NOTHING  # somebody, Kueue for instance, lets it wait
    found = job.finding
    if found is not None and found.final:
        return _lose(launch, spec, found, delete=True)
    if found is not None and found.reason is not Reason.UNSCHEDULABLE:
        left = job.finding_since + limits.launch_patience_seconds - moment
        if left <= 0:
            return _lose(launch, spec, found, delete=True)
        return Judgement(again=left)
    began = launch.worker_started_at or now
    if job.started_at is not None:
        began = max(began, job.started_at)  # by the cluster's clock, but it is all there is
    left = limits.launch_timeout_seconds - (now - began).total_seconds()
    if left > 0:
        return Judgement(again=left)
    found = found or Finding(
        Reason.NOT_STARTED,
        f"its handler didn't begin within {limits.launch_timeout_seconds:g} s",
        final=True,
    )
    return _lose(launch, spec, found, delete=True)


def _vanished(job: KnownJob | None, gone: bool) -> Finding:
    if job is None or gone:
        return Finding(Reason.LOST, "its Kubernetes Job was deleted", final=True)
    if job.complete:
        text = f"the pod of Job {job.name} ended well and its record wasn't settled"
        return Finding(Reason.NOT_SETTLED, text, final=True)
    return Finding(Reason.LOST, f"Job {job.name} failed and its record wasn't settled", final=True)


def _lose(
    launch: Launch, spec: JobRunnerSpec | None, found: Finding, *, delete: bool = False
) -> Judgement:
    return Judgement(outcome_of(launch, spec, found), found.reason, delete=delete)


def outcome_of(launch: Launch, spec: JobRunnerSpec | None, found: Finding) -> Outcome:
    """What is written of a launch that went wrong, and which budget it is charged to."""
    limits = spec or _DEFAULTS
    error = AttemptError.new(
        str(found.reason),
        found.text[:_LONGEST_MESSAGE],
        attempt=launch.attempt_count,
        worker=launch.worker_id,
    )
    if not launch.begun:
        delay = launch_backoff(launch.launch_failures)
        return LaunchLost(error, delay, limits.max_launch_failures)
    delay = RetryPolicy.from_json(launch.retry_policy).delay_seconds(launch.attempt_count)
    if found.reason in DISRUPTIONS:
        return Disrupted(error, delay, limits.max_disruptions)
    return Failed(error, delay_seconds=delay)


_DEFAULTS = JobRunnerSpec.model_validate(
    {"image": "none", "database": {"secretRef": {"name": "none"}}}
)
"""Where the JobRunner is gone, its launches go by the defaults."""
