"""Asks each pod of an operator over HTTP whether it is ready."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from server_jobs_operator.cluster.kube import Json

OPERATOR_PODS = "app.kubernetes.io/name=server-jobs,app.kubernetes.io/component=operator"
"""The labels that the chart gives to the operator's pods, as a selector."""

_PATIENCE = aiohttp.ClientTimeout(total=10)


async def problems_of(pods: Sequence[Json], port: int) -> list[str]:
    """What is wrong with these pods → a line for each problem, none if all are ready.

    ``port`` is that of the probes. Pods that are being deleted aren't asked.
    """
    staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    if not staying:
        return ["there is no pod of the operator"]
    async with aiohttp.ClientSession(timeout=_PATIENCE) as session:
        found = [await _problem(session, pod, port) for pod in staying]
    return [problem for problem in found if problem]


async def _problem(session: aiohttp.ClientSession, pod: Json, port: int) -> str:
    name, address = pod["metadata"]["name"], pod["status"].get("podIP")
    if not address:
        return f"pod {name} hasn't started: it is {pod['status'].get('phase')}"
    host = f"[{address}]" if ":" in address else address
    try:
        async with session.get(f"http://{host}:{port}/readyz") as response:
            said = await response.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"pod {name} doesn't answer: {str(error) or type(error).__name__}"
    return "" if response.status == 200 else f"pod {name} isn't ready: {said}"
