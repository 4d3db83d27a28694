"""What things are called in the cluster: labels, annotations, Jobs and paths of the API."""

from __future__ import annotations

GROUP = "server-jobs.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

INSTALL = f"{GROUP}/install"
RUNNER = f"{GROUP}/runner"
JOB_ID = f"{GROUP}/job-id"
FENCE = f"{GROUP}/fence"
JOB_NAME = f"{GROUP}/job-name"
QUEUE = f"{GROUP}/queue"

CONTAINER = "runner"
FIELD_MANAGER = "server-jobs-operator"


def kubernetes_job_name(job_id: str, fence: int) -> str:
    """The name of a launch's Job. Each launch of a record has a name of its own."""
    return f"job-{job_id}-{fence}"


def jobs_path(namespace: str | None, name: str = "") -> str:
    """The path of a Kubernetes Job, or of all Jobs. ``namespace`` is None for all namespaces."""
    return _path("/apis/batch/v1", namespace, "jobs", name)


def pods_path(namespace: str | None) -> str:
    """The path of all pods. ``namespace`` is None for all namespaces."""
    return _path("/api/v1", namespace, "pods", "")


def events_path(namespace: str) -> str:
    """The path at which Events are created."""
    return _path("/api/v1", namespace, "events", "")


def config_map_path(namespace: str, name: str) -> str:
    """The path of a ConfigMap."""
    return _path("/api/v1", namespace, "configmaps", name)


def leases_path(namespace: str, name: str = "") -> str:
    """The path of a Lease, or of all Leases; leader election uses one."""
    return _path("/apis/coordination.k8s.io/v1", namespace, "leases", name)


def resources_path(
    plural: str, namespace: str | None, name: str = "", *, status: bool = False
) -> str:
    """The path of a JobRunner or JobSchedule, or of all; ``status`` is its subresource."""
    path = _path(f"/apis/{API_VERSION}", namespace, plural, name)
    return f"{path}/status" if status else path


def group_path() -> str:
    """The path that tells which kinds of our group the API server knows."""
    return f"/apis/{API_VERSION}"


def _path(api: str, namespace: str | None, plural: str, name: str) -> str:
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"{api}{within}/{plural}" + (f"/{name}" if name else "")
