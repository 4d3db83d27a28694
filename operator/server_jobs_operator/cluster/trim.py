"""Cuts Jobs and pods down to the fields that the operator uses. Pure.

Thousands of them are kept in memory, so each has to be small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server_jobs_operator.cluster.kube import Json
from server_jobs_operator.cluster.names import FENCE, JOB_ID, RUNNER


def trimmed_job(item: Json) -> Json:
    """A Job with nothing but its metadata, suspension, time to live, start and conditions."""
    metadata = _picked(
        item["metadata"], "name", "namespace", "uid", "resourceVersion", "deletionTimestamp"
    )
    labels = item["metadata"].get("labels") or {}
    metadata["labels"] = _picked(labels, JOB_ID, FENCE, RUNNER)
    status = item.get("status", {})
    return {
        "metadata": metadata,
        "spec": _picked(item.get("spec", {}), "suspend", "ttlSecondsAfterFinished"),
        "status": {**_picked(status, "startTime"), "conditions": _conditions(status)},
    }


def trimmed_pod(item: Json) -> Json:
    """A pod with nothing but its metadata, grace period, phase, conditions and container states."""
    metadata = _picked(item["metadata"], "name", "uid", "deletionTimestamp")
    owners = item["metadata"].get("ownerReferences") or ()
    metadata["ownerReferences"] = [_picked(owner, "kind", "uid") for owner in owners]
    spec, status = item.get("spec", {}), item.get("status", {})
    # Native sidecars are listed among the init containers; their end says nothing about the job.
    sidecars = {
        container["name"]
        for container in spec.get("initContainers") or ()
        if container.get("restartPolicy") == "Always"
    }
    return {
        "metadata": metadata,
        "spec": _picked(spec, "terminationGracePeriodSeconds"),
        "status": {
            **_picked(status, "phase", "reason", "message"),
            "conditions": _conditions(status),
            "containerStatuses": _states(status.get("containerStatuses")),
            "initContainerStatuses": [
                container
                for container in _states(status.get("initContainerStatuses"))
                if container["name"] not in sidecars
            ],
        },
    }


def without_texts(job: Json) -> Json:
    """A Job whose conditions say only whether they hold, and no longer why."""
    conditions = [_picked(condition, "type", "status") for condition in job["status"]["conditions"]]
    return {**job, "status": {"conditions": conditions}}


def _picked(of: Mapping[str, Any], *names: str) -> Json:
    return {name: of[name] for name in names if name in of}


def _conditions(status: Json) -> list[Json]:
    return [
        _picked(condition, "type", "status", "reason", "message")
        for condition in status.get("conditions") or ()
    ]


def _states(containers: list[Json] | None) -> list[Json]:
    return [_picked(container, "name", "state") for container in containers or ()]
