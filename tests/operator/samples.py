"""Launches, Jobs and pods as the operator is given them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from server_jobs import JobStatus
from server_jobs.launches.launch import Launch
from server_jobs.records.rows import Claim
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.cluster.reasons import Finding, Reason
from server_jobs_operator.resources.runner_table import JobRunner
from server_jobs_operator.resources.specs import JobRunnerSpec
from server_jobs_operator.settings import OperatorSettings

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)
JOB_ID = "01a20c20-5071-7c53-b8ce-e6613ffc9c66"
CLAIM = Claim(JOB_ID, 2)

SETTINGS = OperatorSettings(install_id="here", own_namespace="jobs", namespaces=("jobs",))


def launch(**fields: Any) -> Launch:
    """Claimed at noon under fence 2, its handler not begun."""
    return Launch(
        **{
            "id": JOB_ID,
            "job_name": "SendEmail",
            "queue": "default",
            "status": JobStatus.RUNNING,
            "fence": 2,
            "attempt_count": 1,
            "max_attempts": 3,
            "timeout_seconds": None,
            "retry_policy": None,
            "runtime": None,
            "correlation_id": None,
            "launch_failures": 0,
            "disruptions": 0,
            "worker_id": "k8s/here/jobs/default",
            "worker_started_at": NOW,
            "worker_expires_at": NOW,
            "handler_started_at": None,
            "cancel_requested_at": None,
            **fields,
        }
    )


def begun(**fields: Any) -> Launch:
    return launch(handler_started_at=NOW, **fields)


def spec(**fields: Any) -> JobRunnerSpec:
    return JobRunnerSpec.model_validate(
        {"image": "jobs:1", "database": {"secretRef": {"name": "database"}}, **fields}
    )


def runner(name: str = "default", /, *, created: str = "2027", **fields: Any) -> JobRunner:
    return JobRunner("jobs", name, f"uid-of-{name}", 1, created, spec(**fields))


def job(
    *conditions: Mapping[str, Any],
    suspend: bool = False,
    started_at: datetime | None = None,
    pods: Mapping[str, Any] | None = None,
    claim: Claim = CLAIM,
) -> KnownJob:
    """The Kubernetes Job of that launch."""
    started = {"startTime": f"{started_at:%Y-%m-%dT%H:%M:%SZ}"} if started_at else {}
    body = {
        "metadata": {"namespace": "jobs", "name": f"job-{JOB_ID}-2", "uid": "uid"},
        "spec": {"suspend": suspend},
        "status": {"conditions": list(conditions), **started},
    }
    return KnownJob(claim, "default", body, pods)


def gone(known: KnownJob, at: float = 0.0) -> KnownJob:
    """That Job, deleted."""
    known.vanish(at)
    return known


def settled(known: KnownJob, at: float) -> KnownJob:
    """That Job, its record settled."""
    known.settle(at)
    return known


def ill(known: KnownJob, reason: Reason, *, final: bool = True, since: float = 0.0) -> KnownJob:
    """That Job, with something wrong with it."""
    known.find(Finding(reason, "so it is", final), since)
    return known


def condition(kind: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def pod(state: Mapping[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """A pod whose container ``runner`` is in that state."""
    containers = [] if state is None else [{"name": "runner", "state": dict(state)}]
    return {
        "metadata": {"name": "a-pod", "uid": "p"},
        "spec": {},
        "status": {"phase": "Pending", "containerStatuses": containers, **status},
    }


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}
