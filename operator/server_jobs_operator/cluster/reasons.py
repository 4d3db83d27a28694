"""Decides why a launch went wrong, from its Job and pods: ``oom_killed``, ``evicted``, … Pure.

:func:`finding` is where it begins. Only the container ``runner`` and init containers count: the
end of a sidecar says nothing about the job.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from server_jobs.launches.launch import SCHEMA_MISMATCH_STATUS
from server_jobs.records.attempt_error import (
    APP_NOT_LOADED,
    OUT_OF_MEMORY,
    RUNS_ELSEWHERE,
    UNKNOWN_JOB,
)
from server_jobs_operator.cluster.names import CONTAINER

Json = Mapping[str, Any]


class Reason(StrEnum):
    """Why a launch went wrong. The record has it as the type of the attempt's error."""

    OOM_KILLED = OUT_OF_MEMORY
    IMAGE_PULL = "image_pull"
    CONFIG_ERROR = "config_error"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    DEADLINE = "deadline"
    UNSCHEDULABLE = "unschedulable"
    EXIT_CODE = "exit_code"
    LOST = "lost"
    NOT_STARTED = "not_started"
    NOT_SETTLED = "not_settled"
    SCHEMA_MISMATCH = "schema_mismatch"
    UNKNOWN_JOB = UNKNOWN_JOB
    APP_NOT_LOADED = APP_NOT_LOADED
    RUNS_ELSEWHERE = RUNS_ELSEWHERE
    INVALID_RUNTIME = "invalid_runtime"


DISRUPTIONS = frozenset({Reason.EVICTED, Reason.PREEMPTED})
"""The platform ended the pod, so a job that had begun isn't charged an attempt."""

BY_RUNNER = frozenset({Reason.UNKNOWN_JOB, Reason.APP_NOT_LOADED, Reason.RUNS_ELSEWHERE})
"""The runner in the pod detects these and writes them into the record itself."""

WAY_OUT = {
    Reason.OOM_KILLED: "give it more memory with runtime=PodRuntime(memory=…), or retry_on_oom()",
    Reason.IMAGE_PULL: "check the JobRunner's image and imagePullSecrets",
    Reason.CONFIG_ERROR: "check the Secrets and ConfigMaps that the JobRunner names",
    Reason.EVICTED: "the node was drained, or short of memory, disk or another resource",
    Reason.PREEMPTED: "pods of a higher priority needed the node",
    Reason.DEADLINE: "the runner didn't enforce the job's timeout: check whether its node answers",
    Reason.UNSCHEDULABLE: "no node fits: check the pod's requests, node selector and tolerations",
    Reason.EXIT_CODE: "see the pod's log",
    Reason.LOST: "the pod disappeared: it or its Job was deleted, or its node is gone",
    Reason.NOT_STARTED: "see the pod's log and Events, and check that it reaches the database",
    Reason.NOT_SETTLED: "see the pod's log; if it found nothing to do, the JobRunner's Secret"
    " probably names another database than the operator's",
    Reason.SCHEMA_MISMATCH: "the image's server-jobs can't use tables of this version: change the"
    " JobRunner's image, or run `server-jobs migrate`",
    Reason.APP_NOT_LOADED: "check the JobRunner's app and what its image can import",
    Reason.RUNS_ELSEWHERE: "enqueue it to a queue that no JobRunner serves",
    Reason.UNKNOWN_JOB: "the JobRunner's image is older than the code that enqueued the job",
    Reason.INVALID_RUNTIME: "change the job's runtime=, or the JobRunner's caps and allow",
}
"""What a person can do about each reason. Error messages end with it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a launch.

    If it isn't ``final``, it may pass by itself, like a registry that doesn't answer just now.
    """

    reason: Reason
    message: str
    final: bool

    @property
    def text(self) -> str:
        """What is wrong, and what to do about it."""
        return f"{self.message}; {WAY_OUT[self.reason]}"

    def outweighs(self, other: Finding) -> bool:
        """Whether this one explains the other, as an eviction explains an exit code."""
        return self.final and _WEIGHT.index(self.reason) > _WEIGHT.index(other.reason)


_IMAGE = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable"}
_CONFIG = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "CreatePodSandboxError",
    "RunContainerError",
    "PostStartHookError",
}
# https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
_PREEMPTIONS = {"PreemptionByScheduler"}
_KILLED = 128 + signal.SIGKILL


def finding(job: Json, pods: Sequence[Json]) -> Finding | None:
    """What is wrong with a launch → None while nothing is.

    A Job that was suspended and resumed has several pods. The finding that explains most counts.
    """
    found = [one for pod in pods for one in _of_pod(pod)]
    final = [one for one in found if one.final]
    if final:
        return max(final, key=lambda one: _WEIGHT.index(one.reason))
    return _of_job(job) or (found[0] if found else None)


# A reason explains those before it.
_WEIGHT = [
    Reason.UNKNOWN_JOB,
    Reason.APP_NOT_LOADED,
    Reason.RUNS_ELSEWHERE,
    Reason.INVALID_RUNTIME,
    Reason.NOT_STARTED,
    Reason.NOT_SETTLED,
    Reason.LOST,
    Reason.UNSCHEDULABLE,
    Reason.CONFIG_ERROR,
    Reason.IMAGE_PULL,
    Reason.EXIT_CODE,
    Reason.SCHEMA_MISMATCH,
    Reason.DEADLINE,
    Reason.OOM_KILLED,
    Reason.EVICTED,
    Reason.PREEMPTED,
]


def _of_job(job: Json) -> Finding | None:
    for condition in job.get("status", {}).get("conditions") or ():
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            if condition.get("reason") == "DeadlineExceeded":
                return Finding(Reason.DEADLINE, "its Job ran for too long", final=True)
            why = condition.get("message") or condition.get("reason") or "no reason given"
            return Finding(Reason.LOST, f"its Job failed ({why})", final=True)
    return None


def _of_pod(pod: Json) -> Iterator[Finding]:
    status = pod.get("status", {})
    name = pod.get("metadata", {}).get("name", "?")
    for condition in status.get("conditions") or ():
        match condition.get("type"), condition.get("status"):
            case "DisruptionTarget", "True":
                why = str(condition.get("reason") or "")
                text = f"pod {name} was disrupted ({why}): {condition.get('message') or ''}"
                preempted = why in _PREEMPTIONS
                yield Finding(
                    Reason.PREEMPTED if preempted else Reason.EVICTED, text.rstrip(": "), final=True
                )
            case "PodScheduled", "False":
                text = f"pod {name} can't be scheduled: {condition.get('message') or 'no node'}"
                yield Finding(Reason.UNSCHEDULABLE, text, final=False)
    match status.get("reason"):
        case "Evicted" | "Shutdown" | "NodeShutdown" | "Terminated" | "NodeAffinity" as why:
            text = f"pod {name} was evicted ({why}): {status.get('message') or ''}"
            yield Finding(Reason.EVICTED, text.rstrip(": "), final=True)
        case "Preempting" | "Preempted":
            yield Finding(Reason.PREEMPTED, f"pod {name} was preempted", final=True)
        case "DeadlineExceeded":
            yield Finding(Reason.DEADLINE, f"pod {name} ran for too long", final=True)
        case "NodeLost":
            yield Finding(Reason.EVICTED, f"the node of pod {name} is lost", final=True)
    if "deletionTimestamp" in pod.get("metadata", {}) and _was_killed(status):
        return  # it was killed because it was deleted, and its exit code says nothing else
    for container in status.get("containerStatuses") or ():
        if container.get("name") == CONTAINER:
            yield from _of_container(name, container.get("state") or {}, ours=True)
    for container in status.get("initContainerStatuses") or ():
        init = f"{name}, init container {container.get('name')}"
        yield from _of_container(init, container.get("state") or {}, ours=False)


def _was_killed(status: Json) -> bool:
    """Whether the container was killed by SIGKILL, and not because of its memory."""
    for container in status.get("containerStatuses") or ():
        ended = (container.get("state") or {}).get("terminated") or {}
        if container.get("name") == CONTAINER and ended.get("exitCode") == _KILLED:
            return bool(ended.get("reason") != "OOMKilled")
    return False


def _of_container(name: str, state: Json, *, ours: bool) -> Iterator[Finding]:
    waiting = state.get("waiting") or {}
    why, said = str(waiting.get("reason") or ""), waiting.get("message") or ""
    if why == "InvalidImageName":
        yield Finding(Reason.IMAGE_PULL, f"pod {name}: {why}: {said}", final=True)
    elif why in _IMAGE:
        yield Finding(Reason.IMAGE_PULL, f"pod {name}: {why}: {said}", final=False)
    elif why in _CONFIG:
        yield Finding(Reason.CONFIG_ERROR, f"pod {name}: {why}: {said}", final=False)
    ended = state.get("terminated")
    if not ended:
        return
    code = int(ended.get("exitCode") or 0)
    why = str(ended.get("reason") or "")
    if why == "OOMKilled":
        text = f"pod {name} was killed for using more memory than its limit"
        yield Finding(Reason.OOM_KILLED, text, final=True)
    elif why in {"ContainerCannotRun", "StartError"}:
        text = f"pod {name} can't be started: {ended.get('message') or why}"
        yield Finding(Reason.CONFIG_ERROR, text, final=True)
    elif code != 0:
        said = f": {tail}" if (tail := str(ended.get("message") or "").strip()[-500:]) else ""
        mismatch = ours and code == SCHEMA_MISMATCH_STATUS
        reason = Reason.SCHEMA_MISMATCH if mismatch else Reason.EXIT_CODE
        yield Finding(reason, f"pod {name} ended with {_status(code)}{said}", final=True)


def _status(code: int) -> str:
    number = int(code) - 128
    try:
        return f"exit status {code} ({signal.Signals(number).name})"
    except ValueError:
        return f"exit status {code}"
