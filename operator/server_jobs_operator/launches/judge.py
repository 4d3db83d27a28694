"""Decides what to do about a launch, from its row and its Kubernetes Job. Pure.

:func:`judge` covers each way in which a row and its Job can stand: it says what is written into
the record, what happens to the Job, and when to look again. The table "What happens when" in
docs/kubernetes.md says the same to users.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from server_jobs.launches.launch import Launch
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.backoff import RetryPolicy, launch_backoff
from server_jobs.records.outcomes import (
    Abandoned,
    Disrupted,
    Failed,
    LaunchLost,
    Outcome,
    Withdrawn,
)
from server_jobs.records.status import JobStatus
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.cluster.reasons import DISRUPTIONS, Finding, Reason
from server_jobs_operator.resources.specs import JobRunnerSpec

LEAVING_SECONDS = 15.0
"""How long a pod has to end once its record is settled, before its Job is deleted."""

_LONGEST_MESSAGE = 2_000


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do about one launch. The default is nothing."""

    outcome: Outcome | None = None
    """What to write into the record."""
    reason: Reason | None = None
    """Why the launch went wrong, if it did."""
    delete: bool = False
    """Whether to delete the Job."""
    expire: bool = False
    """Whether the Job may be deleted after the JobRunner's time to live: all is over."""
    again: float | None = None
    """In how many seconds to judge it again; None if only a change can alter the judgement."""


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
    """Decides on one launch.

    ``job`` is the Job as it was last seen, or None if it was never seen. ``gone`` says that it no
    longer exists; one that was never seen has been missing since ``missing_since``. ``launch`` is
    the row, read after the Job was looked up, or None if the row was deleted. ``spec`` is that of
    the JobRunner, or None if that was deleted.

    ``now`` is the database's clock. ``moment``, like ``missing_since``, is ``time.monotonic()``.
    """
    gone = gone or job is None
    if launch is None or launch.status is not JobStatus.RUNNING:
        return NOTHING if gone or job is None else _over(job, launch, moment)
    if job is not None and launch.claim != job.claim:
        # The Job is of an older claim, so the fence refuses what it writes. If it has finished, it
        # is kept for its time to live: somebody may want to read its log.
        return NOTHING if gone else Judgement(expire=job.finished, delete=not job.finished)
    ended = gone or (job is not None and job.finished)
    if gone and launch.begun and (left := _still_leaving(job, spec, moment, missing_since)) > 0:
        return Judgement(again=left)  # its runner may still be writing how the handler ended
    if launch.cancel_requested_at is not None:
        if not launch.begun:  # if it begins at this moment, that goes first, and it is judged again
            return Judgement(Withdrawn("cancelled on request"), delete=not gone)
        if ended:
            return Judgement(Abandoned("cancelled on request"), delete=not gone)
        # Deleting the Job tells the pod to end, and then its runner writes the cancellation.
        return Judgement(delete=True, again=5.0)
    found = job.finding if job is not None else None
    if ended:
        why = found if found is not None and found.final else _vanished(job, gone)
        if launch.begun and why.reason is Reason.SCHEMA_MISMATCH:
            why = replace(why, reason=Reason.EXIT_CODE)  # it was the handler's own exit status
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
    """How many more seconds the pod of a deleted Job may take to end → 0 or less if none."""
    since = missing_since if job is None else job.gone_at
    if since is None or (job is not None and job.finding and job.finding.reason in _OF_AN_END):
        return 0.0
    known = job.grace_seconds if job is not None and spec is None else None
    grace = (spec or _DEFAULTS).grace_period_seconds if known is None else known
    return since + grace + LEAVING_SECONDS - moment


_OF_AN_END = frozenset({Reason.EXIT_CODE, Reason.OOM_KILLED, Reason.SCHEMA_MISMATCH})
"""Findings that only an ended container has. A pod that is evicted may still be ending."""


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
        return NOTHING  # Kueue, for instance, hasn't admitted it yet
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
        began = max(began, job.started_at)  # by the cluster's clock: there is no other source
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
    """The outcome of a launch that went wrong: what is written, and which budget it is charged to.

    Before the handler began that is a launch failure. After it, it is a disruption if the platform
    ended the pod, else a failed attempt.
    """
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
"""The limits for launches whose JobRunner was deleted."""
