"""The fields of log lines about a launch: the same ones wherever it is spoken of."""

from __future__ import annotations

from server_jobs.records.rows import Lease
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.cluster.names import kubernetes_job_name


def fields_of(lease: Lease, job: KnownJob | None = None, **more: str) -> dict[str, str | int]:
    """Which job, which claim of it, which Kubernetes Job; its JobRunner and pod where known."""
    fields: dict[str, str | int] = {
        "job_id": lease.job_id,
        "fence": lease.fence,
        "kubernetes_job": kubernetes_job_name(*lease),
    }
    if job is not None:
        fields |= {"namespace": job.namespace, "runner": job.runner}
        if job.pod_name is not None:
            fields["pod"] = job.pod_name
    return fields | more
