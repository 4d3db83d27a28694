"""Waiting for what pods, operators and databases take their time for."""

import asyncio
import contextlib
from collections.abc import Callable

from server_jobs.errors import DatabaseUnavailableError
from server_jobs.records import JobRecord
from server_jobs.store import Store
from tests.e2e.support.kubectl import PATIENCE_SECONDS, Kubectl


def over(record: JobRecord) -> bool:
    return record.completed_at is not None


def begun(record: JobRecord) -> bool:
    return record.handler_started_at is not None


def errors(record: JobRecord) -> list[str]:
    return [error.type for error in record.attempt_errors]


async def record_when(
    store: Store, job_id: str, condition: Callable[[JobRecord], bool], seconds: float = 90.0
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


async def until_quiet(namespace: Kubectl) -> None:
    """Nothing runs: each Job has ended, and each pod."""

    def quiet() -> bool:
        jobs = all(ended(job.get("status", {})) for job in namespace.all("jobs"))
        return jobs and all(
            pod["status"]["phase"] in {"Succeeded", "Failed"} for pod in namespace.all("pods")
        )

    def ended(status: dict[str, object]) -> bool:
        conditions = status.get("conditions") or []
        assert isinstance(conditions, list)
        return any(
            one["type"] in {"Complete", "Failed"} and one["status"] == "True" for one in conditions
        )

    await until(quiet)
