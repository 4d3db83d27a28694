"""The fields of log lines about a launch. They are the same in every module."""

from __future__ import annotations

from server_jobs.records.rows import Claim
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.cluster.names import kubernetes_job_name


def fields_of(claim: Claim, job: KnownJob | None = None, **more: str) -> dict[str, str | int]:
    """The fields of a log line about a launch.

    They are the job, its fence and its Kubernetes Job; if ``job`` is given, also its namespace,
    its JobRunner and its latest pod; and whatever else the caller adds.
    """
    fields: dict[str, str | int] = {
        "job_id": claim.job_id,
        "fence": claim.fence,
        "kubernetes_job": kubernetes_job_name(*claim),
    }
    if job is not None:
        fields |= {"namespace": job.namespace, "runner": job.runner}
        if job.pod_name is not None:
            fields["pod"] = job.pod_name
    return fields | more
