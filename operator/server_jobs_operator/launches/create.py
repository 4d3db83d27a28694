"""Creates the Kubernetes Job of a launch, or adopts the one that exists already."""

from __future__ import annotations

import asyncio

from server_jobs_operator.cluster.kube import Json, Kube, KubeError
from server_jobs_operator.cluster.names import FENCE, INSTALL, JOB_ID, jobs_path

_TRIES = 4


async def create_or_adopt(kube: Kube, namespace: str, body: Json) -> Json | None:
    """Creates the Job or adopts it → the Job, or None if another Job has taken its name.

    It tries several times, as long as the error may pass. Raises KubeError.
    """
    pause = 0.2
    for left in reversed(range(_TRIES)):
        try:
            return await kube.create(jobs_path(namespace), body)
        except KubeError as error:
            if error.exists:
                return await _adopted(kube, namespace, body)
            if not error.passes or not left:
                raise
            # If only the answer was lost, the next try finds the Job by its name.
            await asyncio.sleep(pause)
            pause *= 3
    return None


async def _adopted(kube: Kube, namespace: str, body: Json) -> Json | None:
    """The existing Job of that name → None unless it is of this launch and may still run."""
    try:
        found = await kube.get(jobs_path(namespace, body["metadata"]["name"]))
    except KubeError as error:
        if error.not_found:
            return None
        raise
    ours, theirs = body["metadata"]["labels"], found["metadata"].get("labels", {})
    if any(ours[label] != theirs.get(label) for label in (INSTALL, JOB_ID, FENCE)):
        return None
    conditions = found.get("status", {}).get("conditions") or ()
    over = any(
        one["type"] in {"Complete", "Failed"} and one["status"] == "True" for one in conditions
    )
    return None if over or "deletionTimestamp" in found["metadata"] else found
