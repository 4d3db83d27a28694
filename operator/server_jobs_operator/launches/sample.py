"""Asks the API server, by a dry run, whether it takes the Jobs of a JobRunner at present.

The dry run is of a sample without any wishes of its own. So a refusal of the sample is the
JobRunner's trouble, and a Job that is refused although the sample is taken is the trouble of its
record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server_jobs.launches.launch import Launch
from server_jobs.records.status import JobStatus
from server_jobs_operator.cluster.kube import Kube, KubeError
from server_jobs_operator.cluster.names import jobs_path
from server_jobs_operator.launches.manifest import job_manifest
from server_jobs_operator.launches.templates import InvalidTemplate
from server_jobs_operator.resources.runner_table import JobRunner
from server_jobs_operator.settings import OperatorSettings


class RefusalKind(StrEnum):
    """What is to be changed. The values are reasons of the condition ``TemplateValid``."""

    MALFORMED = "Malformed"
    """The template: it isn't a pod template."""
    REFUSED = "Refused"
    """The template, or the policy that refuses it."""
    FORBIDDEN = "Forbidden"
    """A used-up quota, a missing permission, or a namespace that is being deleted."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no Job of a JobRunner is taken."""

    kind: RefusalKind
    text: str


async def sample_refusal(
    kube: Kube, runner: JobRunner, settings: OperatorSettings
) -> Refusal | None:
    """Makes the dry run → why the sample is refused, or None if it is taken.

    Raises KubeError if the API server doesn't say.
    """
    try:
        body = job_manifest(SAMPLE_LAUNCH, runner, settings)
        await kube.create(jobs_path(runner.namespace), body, dry_run=True)
    except InvalidTemplate as error:
        return Refusal(RefusalKind.MALFORMED, str(error))
    except KubeError as error:
        if error.passes:
            raise
        kind = RefusalKind.FORBIDDEN if error.held_up else RefusalKind.REFUSED
        return Refusal(kind, error.message or error.reason)
    return None


SAMPLE_LAUNCH = Launch(
    id="00000000-0000-7000-8000-000000000000",
    job_name="DryRun",
    queue="default",
    status=JobStatus.RUNNING,
    fence=0,
    attempt_count=1,
    max_attempts=1,
    timeout_seconds=None,
    retry_policy=None,
    runtime=None,
    correlation_id=None,
    launch_failures=0,
    disruptions=0,
    worker_id=None,
    worker_started_at=None,
    worker_expires_at=None,
    handler_started_at=None,
    cancel_requested_at=None,
)
"""A launch without any wishes of its own, for a server-side dry run of a JobRunner's template."""
