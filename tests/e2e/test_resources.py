"""JobRunners and JobSchedules: what is refused, and what their conditions say."""

import asyncio
from typing import Any

import pytest

from server_jobs.schedules import ScheduleStore
from server_jobs.store.store import Store
from tests.e2e.conftest import job_runner
from tests.e2e.support.kubectl import PATIENCE_SECONDS, Kubectl
from tests.e2e.support.operator_process import OperatorProcess
from tests.e2e.support.waiting import condition_when, event_on


def job_schedule(name: str = "hourly", /, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "server-jobs.dev/v1alpha1",
        "kind": "JobSchedule",
        "metadata": {"name": name},
        "spec": {"jobName": "Double", "schedule": "0 * * * *", "params": {"n": 1}, **spec},
    }


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"image": None}, "spec.image"),
        (
            {"caps": {"cpu": "1"}, "resources": {"requests": {"cpu": "2"}}},
            "caps.cpu must be at least resources.requests.cpu",
        ),
        (
            {"caps": {"memory": "1Gi"}, "resources": {"limits": {"memory": "2Gi"}}},
            "caps.memory must be at least resources.limits.memory",
        ),
        ({"app": "no colon"}, "app must be module:registry"),
        ({"maxConcurrency": 0}, "spec.maxConcurrency"),
        ({"bogus": 1}, 'unknown field "spec.bogus"'),
    ],
)
def test_a_bad_job_runner_is_refused(
    namespace: Kubectl, image: str, spec: dict[str, Any], says: str
) -> None:
    assert says in namespace.refused(job_runner(image, **spec))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"schedule": "* * *"}, "schedule must have five fields"),
        ({"overlap": "maybe"}, "Unsupported value"),
        (
            {"startsAt": "2027-01-02T00:00:00Z", "endsAt": "2027-01-01T00:00:00Z"},
            "endsAt must be later than startsAt",
        ),
    ],
)
def test_a_bad_job_schedule_is_refused(namespace: Kubectl, spec: dict[str, Any], says: str) -> None:
    assert says in namespace.refused(job_schedule(**spec))


async def test_of_two_runners_for_one_queue_the_older_serves(
    operator: OperatorProcess, namespace: Kubectl, image: str
) -> None:
    await condition_when(namespace, "jobrunner", "e2e", "Ready", "True")
    await asyncio.sleep(1.1)  # creation times are in seconds
    namespace.apply(job_runner(image, "younger"))

    conflict = await condition_when(namespace, "jobrunner", "younger", "Conflict", "True")
    assert "/e2e is older and serves the same" in conflict["message"]
    assert await event_on(namespace, "JobRunner", "younger", "Conflict") == conflict["message"]

    namespace.run("delete", "jobrunner", "e2e")
    await condition_when(namespace, "jobrunner", "younger", "Ready", "True")


async def test_a_template_that_makes_no_pod_is_told_of(
    operator: OperatorProcess, namespace: Kubectl, image: str
) -> None:
    namespace.apply(
        job_runner(
            image,
            "broken",
            queues=["other"],
            template={"spec": {"containers": [{"name": "side", "image": "x", "ports": "many"}]}},
        )
    )

    condition = await condition_when(namespace, "jobrunner", "broken", "TemplateValid", "False")
    assert "ports" in condition["message"]
    told = await event_on(namespace, "JobRunner", "broken", "TemplateRefused")
    assert told == condition["message"]


def test_kubectl_explains_the_fields_and_lists_what_matters(namespace: Kubectl, image: str) -> None:
    namespace.apply(job_runner(image))
    namespace.apply(job_schedule())

    explained = namespace.run("explain", "jobrunner.spec.caps.memory")

    assert "Memory, for example 256Mi or 1Gi." in explained
    assert columns(namespace, "jrun") == "NAME QUEUES RUNNING MAX PAUSED READY REASON AGE"
    assert columns(namespace, "jsched") == "NAME SCHEDULE TIME ZONE JOB SUSPEND LAST NEXT READY AGE"


def columns(namespace: Kubectl, kind: str) -> str:
    return " ".join(namespace.run("get", kind).splitlines()[0].split())


async def test_a_job_schedule_is_a_row_while_it_lives(
    operator: OperatorProcess, namespace: Kubectl, store: Store
) -> None:
    schedules = ScheduleStore(store.database)
    namespace.apply(job_schedule(timeZone="Europe/Zurich"))
    await condition_when(namespace, "jobschedule", "hourly", "Ready", "True")

    row = await schedules.get(f"{namespace.namespace}/hourly")
    assert (row.job_name, row.time_zone, row.enabled) == ("Double", "Europe/Zurich", True)
    assert row.managed_by == f"crd:{namespace.namespace}/hourly"
    assert namespace.get("jobschedule", "hourly")["status"]["nextFireTime"].endswith(":00:00Z")

    namespace.apply(job_schedule(suspend=True))
    suspended = await condition_when(namespace, "jobschedule", "hourly", "Ready", "False")
    assert suspended["reason"] == "Suspended"
    assert not (await schedules.get(row.name)).enabled

    namespace.run("delete", "jobschedule", "hourly")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await schedules.find(row.name) is not None:  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.2)


async def test_an_unknown_zone_and_an_expression_that_never_fires_are_told_of(
    operator: OperatorProcess, namespace: Kubectl
) -> None:
    namespace.apply(job_schedule("zone", timeZone="Europe/Zuerich"))
    namespace.apply(job_schedule("never", schedule="0 0 30 2 *"))

    zone = await condition_when(namespace, "jobschedule", "zone", "Ready", "False")
    never = await condition_when(namespace, "jobschedule", "never", "Ready", "False")

    assert "Europe/Zurich" in zone["message"]
    assert "never fires" in never["message"]
