"""Why a launch goes wrong, read off its Job and pods. Pure.

Only the container ``runner`` counts: a sidecar's end says nothing about the job.
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
    """Why; it stands in the record as the type of the attempt's error."""

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
"""The platform's doing: a begun job isn't charged an attempt for it."""

BY_RUNNER = frozenset({Reason.UNKNOWN_JOB, Reason.APP_NOT_LOADED, Reason.RUNS_ELSEWHERE})
"""What the runner finds out, and writes into the record itself."""

WAY_OUT = {
    Reason.OOM_KILLED: "give it more with runtime=PodRuntime(memory=…), or retry_on_oom()",
    Reason.IMAGE_PULL: "check the JobRunner's image and imagePullSecrets",
    Reason.CONFIG_ERROR: "check the Secrets and ConfigMaps that the JobRunner names",
    Reason.EVICTED: "the node was short of something, or drained",
    Reason.PREEMPTED: "pods of a higher priority needed the room",
    Reason.DEADLINE: "neither the runner nor its node has answered for too long",
    Reason.UNSCHEDULABLE: "no node has room for it: see its requests and node selector",
    Reason.EXIT_CODE: "see the pod's log",
    Reason.LOST: "the pod is gone without a word: it or its Job was deleted, or its node is gone",
    Reason.NOT_STARTED: "see the pod's log and events: does it reach the database?",
    Reason.NOT_SETTLED: "see the pod's log; if it found nothing to do, the JobRunner's Secret"
    " probably names another database than the operator's",
    Reason.SCHEMA_MISMATCH: "the image's server-jobs and the tables are too far apart: change the"
    " JobRunner's image, or run `server-jobs migrate`",
    Reason.APP_NOT_LOADED: "check the JobRunner's app and what its image can import",
    Reason.RUNS_ELSEWHERE: "enqueue it to a queue that no JobRunner serves",
    Reason.UNKNOWN_JOB: "the JobRunner's image is older than the code that enqueued it",
    Reason.INVALID_RUNTIME: "change the job's runtime=, or what its JobRunner allows",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong. Unless it is ``final``, it may pass: an image that can't be had just now."""

    reason: Reason
    message: str
    final: bool

    @property
    def text(self) -> str:
        """What is wrong, and the way out."""
        return f"{self.message}; {WAY_OUT[self.reason]}"

    def outweighs(self, other: Finding) -> bool:
        """Whether this one explains the other: a pod that was evicted also has an exit code."""
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
    """What is wrong with a launch; None while nothing is.

    Of several pods (a Job that was suspended and resumed has two) whichever says most counts.
    """
    found = [one for pod in pods for one in _of_pod(pod)]
    final = [one for one in found if one.final]
    if final:
        return max(final, key=lambda one: _WEIGHT.index(one.reason))
    return _of_job(job) or (found[0] if found else None)


# The later ones say more.
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
                return Finding(Reason.DEADLINE, "its Job was active for too long", final=True)
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
                text = f"pod {name} was taken down ({why}): {condition.get('message') or ''}"
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
            yield Finding(Reason.DEADLINE, f"pod {name} was active for too long", final=True)
        case "NodeLost":
            yield Finding(Reason.EVICTED, f"the node of pod {name} is lost", final=True)
    if "deletionTimestamp" in pod.get("metadata", {}) and _was_killed(status):
        return  # that it was deleted is why, and its Job says no more than that it failed
    for container in status.get("containerStatuses") or ():
        if container.get("name") == CONTAINER:
            yield from _of_container(name, container.get("state") or {}, ours=True)
    for container in status.get("initContainerStatuses") or ():
        init = f"{name}, init container {container.get('name')}"
        yield from _of_container(init, container.get("state") or {}, ours=False)


def _was_killed(status: Json) -> bool:
    """Whether the container was ended by force, and not for its memory."""
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
