"""Waiting for what pods, operators and databases take their time for."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from server_jobs.errors import DatabaseUnavailableError
from server_jobs.records.rows import JobRecord
from server_jobs.store.store import Store
from tests.e2e.support.kubectl import PATIENCE_SECONDS, Kubectl

TTL_SECONDS = 3_600
"""A JobRunner's, where it says nothing else."""


def over(record: JobRecord) -> bool:
    return record.completed_at is not None


def begun(record: JobRecord) -> bool:
    return record.handler_started_at is not None


def errors(record: JobRecord) -> list[str]:
    return [error.type for error in record.attempt_errors]


async def record_when(
    store: Store, job_id: str, condition: Callable[[JobRecord], bool], seconds: float = 150.0
) -> JobRecord:
    """The record, as soon as the condition holds."""
    async with asyncio.timeout(seconds):
        while True:
            # A connection that broke in a drill is found out by whoever uses it next.
            with contextlib.suppress(DatabaseUnavailableError):
                record = await store.get(job_id)
                if condition(record):
                    return record
            await asyncio.sleep(0.2)


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - other processes' doing
            await asyncio.sleep(0.3)


async def event_on(namespace: Kubectl, kind: str, name: str, reason: str) -> str:
    """The message of an Event on an object, as soon as it is there."""
    with contextlib.suppress(TimeoutError):
        await until(lambda: reason in namespace.events(kind, name), 20)
    found = namespace.events(kind, name)
    assert reason in found, found
    return found[reason]


async def condition_when(
    namespace: Kubectl, kind: str, name: str, of: str, status: str, reason: str | None = None
) -> dict[str, str]:
    """The condition, as soon as it has that status, and that reason if one is given."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            condition = namespace.condition(kind, name, of)
            if condition.get("status") == status and reason in {None, condition.get("reason")}:
                return condition
            await asyncio.sleep(0.2)


async def until_served(namespace: Kubectl, name: str = "e2e") -> None:
    """The operator has seen the JobRunner as it is now."""

    def served() -> bool:
        runner = namespace.get("jobrunner", name)
        observed = runner.get("status", {}).get("observedGeneration")
        return bool(observed == runner["metadata"]["generation"])

    await until(served)


async def until_gone(namespace: Kubectl) -> None:
    """No Job and no pod is left."""
    await until(lambda: not namespace.all("pods") and not namespace.all("jobs"))


async def until_no_orphans(namespace: Kubectl, ttl: int = TTL_SECONDS) -> None:
    """Nothing runs, and nothing stays for ever.

    Each Job has ended and goes after the runner's time to live; each pod has ended and belongs to
    a Job that is there.
    """

    def orphans() -> list[str]:
        jobs, pods = namespace.all("jobs"), namespace.all("pods")
        found = [
            f"Job {job['metadata']['name']}"
            for job in jobs
            if not has_ended(job) or job["spec"]["ttlSecondsAfterFinished"] != ttl
        ]
        uids = {job["metadata"]["uid"] for job in jobs}
        for pod in pods:
            (owner,) = pod["metadata"]["ownerReferences"]
            if pod["status"]["phase"] not in {"Succeeded", "Failed"} or owner["uid"] not in uids:
                found.append(f"pod {pod['metadata']['name']}")
        return found

    with contextlib.suppress(TimeoutError):
        await until(lambda: not orphans())
    assert orphans() == []


def has_ended(job: dict[str, Any]) -> bool:
    conditions = job.get("status", {}).get("conditions") or []
    return any(
        one["type"] in {"Complete", "Failed"} and one["status"] == "True" for one in conditions
    )
