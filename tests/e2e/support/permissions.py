"""What the chart grants the operator, what the operator asks for, and work that needs all of it."""

from itertools import product
from typing import Any

from server_jobs import JobStatus
from server_jobs.store.store import Store
from tests.e2e.app.jobs import double, leave, sleep
from tests.e2e.support.helm import RELEASE
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.node import audited
from tests.e2e.support.waiting import begun, over, record_when

Permission = tuple[str, str, str]
"""API group, resource and verb."""


def account(namespace: Kubectl) -> str:
    """The operator's name at the API server."""
    return f"system:serviceaccount:{namespace.namespace}:{RELEASE}"


def every_minute(name: str, queue: str = "default") -> dict[str, Any]:
    return {
        "apiVersion": "server-jobs.dev/v1alpha1",
        "kind": "JobSchedule",
        "metadata": {"name": name},
        "spec": {
            "jobName": "Double", "schedule": "* * * * *", "params": {"n": 21}, "queue": queue,
        },
    }  # fmt: skip


async def need_everything(namespace: Kubectl, jobs: Store, queue: str = "default") -> None:
    """Jobs that end well, badly, cancelled and under a name that is taken; and a schedule."""
    namespace.apply(every_minute("permitted", queue))
    finished = await double.later({"n": 1}, queue=queue)
    failed = await leave.later({"n": 3}, queue=queue)
    cancelled = await sleep.later({"seconds": 60}, queue=queue)
    taken = await double.later({"n": 2}, delay=3, queue=queue)
    namespace.apply(somebodys_job(f"job-{taken}-1"))
    await record_when(jobs, cancelled, begun)
    await jobs.cancel(cancelled)
    for job_id in (finished, failed, cancelled):
        await record_when(jobs, job_id, over)
    record = await record_when(jobs, taken, over)
    assert (record.status, record.fence) == (JobStatus.COMPLETED, 2)


def granted(namespace: Kubectl) -> set[Permission]:
    """What the chart grants, there or in the whole cluster."""
    rules = [
        rule
        for kind in ("role", "clusterrole")
        for role in namespace.all(kind, f"app.kubernetes.io/instance={RELEASE}")
        for rule in role["rules"]
    ]
    return {
        one
        for rule in rules
        for one in product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }


def used(user: str) -> set[Permission]:
    """What the API server was asked to honour."""
    found = set()
    for entry in audited(user):
        of = entry.get("objectRef")
        if of is None:
            continue  # /version and the lists of what there is, which everybody may read
        resource = "/".join(filter(None, (of["resource"], of.get("subresource"))))
        found.add((of.get("apiGroup", ""), resource, entry["verb"]))
        if entry["verb"] == "patch" and entry["responseStatus"].get("code") == 201:
            found.add((of.get("apiGroup", ""), resource, "create"))
    return found


def refused(user: str) -> list[dict[str, Any]]:
    """What it wasn't allowed."""
    return [entry for entry in audited(user) if entry["responseStatus"].get("code") == 403]


def somebodys_job(name: str) -> dict[str, Any]:
    """A Job that has the name of one of ours, and isn't."""
    container = {"name": "other", "image": "localhost/pause:1"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "suspend": True,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }
