"""The chart, installed into a namespace that admits restricted pods alone."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from server_jobs import JobStatus, connect
from server_jobs.store import Store
from tests.e2e.app.jobs import double, gate, leave, registry, sleep
from tests.e2e.support.helm import RELEASE, Helm
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.node import audited, require_own_cluster
from tests.e2e.support.waiting import begun, over, record_when, until
from tests.support.postgres import temporary_database

HELM_3 = os.environ.get("SERVER_JOBS_E2E_HELM_3", "")

pytestmark = pytest.mark.timeout(300)


@dataclass
class Place:
    """A namespace, and an empty database that its Secret names."""

    namespace: Kubectl
    url: str


@contextmanager
def empty_place(kubectl: Kubectl, server_url: str) -> Iterator[Place]:
    with kubectl.temporary_namespace() as own, temporary_database(server_url) as url:
        level = "pod-security.kubernetes.io/enforce=restricted"
        own.run("label", "namespace", own.namespace, level)
        own.run("create", "secret", "generic", "database", f"--from-literal=url={url}")
        own.wait_for_account()
        yield Place(own, url)


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Store]:
    """Its database, as the one that jobs are enqueued into."""
    database = connect(place.url)
    registry.bind(database)
    gate.url = place.url
    gate.close()
    yield Store(database)
    await database.close()


def values(image: str, operator_image: str, **more: Any) -> dict[str, Any]:
    repository, _, tag = operator_image.rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag},
        "database": {"existingSecret": "database"},
        "settings": {"RECONCILE_INTERVAL": "2"},
        "defaultRunner": {
            "enabled": True,
            "spec": {
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "gracePeriodSeconds": 3,
                "caps": {"memory": "512Mi"},
            },
        },
        **more,
    }


@pytest.fixture
def chart_values(image: str, operator_image: str) -> dict[str, Any]:
    return values(image, operator_image)


@pytest.fixture(scope="module")
def release(kubectl: Kubectl, server_url: str, image: str, operator_image: str) -> Iterator[Place]:
    """Installed once for the tests that ask for no other."""
    with empty_place(kubectl, server_url) as place:
        helm = Helm(place.namespace)
        helm.install(values(image, operator_image), "--wait", "--timeout", "120s")
        yield place
        helm.uninstall()


@pytest.fixture
async def jobs(release: Place) -> AsyncIterator[Store]:
    async with opened(release) as store:
        yield store


def every_minute(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "server-jobs.dev/v1alpha1",
        "kind": "JobSchedule",
        "metadata": {"name": name},
        "spec": {"jobName": "Double", "schedule": "* * * * *", "params": {"n": 21}},
    }


async def test_a_schedule_and_a_later_come_to_their_results(release: Place, jobs: Store) -> None:
    release.namespace.apply(every_minute("minutely"))
    ids = await double.later_many([{"n": n} for n in range(3)])

    records = [await record_when(jobs, job_id, over) for job_id in ids]
    assert [record.result for record in records] == ["0", "2", "4"]

    def fired() -> str:
        status = release.namespace.get("jobschedule", "minutely").get("status", {})
        return str(status.get("lastJobId") or "")

    await until(lambda: bool(fired()), 90)
    record = await record_when(jobs, fired(), over)
    assert (record.status, record.result) == (JobStatus.COMPLETED, "42")
    release.namespace.run("delete", "jobschedule", "minutely")


def test_helm_test_finds_the_database_in_order(release: Place) -> None:
    assert "Succeeded" in Helm(release.namespace).test()


async def test_an_upgrade_leaves_running_jobs_alone(
    release: Place, jobs: Store, chart_values: dict[str, Any]
) -> None:
    ids = await gate.job.later_many([{"n": n} for n in range(3)])
    for job_id in ids:
        await record_when(jobs, job_id, begun)
    before = {job["metadata"]["uid"] for job in release.namespace.all("jobs")}
    operators = {pod["metadata"]["uid"] for pod in of_the_chart(release, "pods")}

    chart_values["podAnnotations"] = {"revision": "2"}
    chart_values["defaultRunner"]["spec"]["template"] = {"metadata": {"labels": {"revision": "2"}}}
    Helm(release.namespace).upgrade(chart_values, "--wait", "--timeout", "120s")

    assert not operators & {pod["metadata"]["uid"] for pod in of_the_chart(release, "pods")}
    gate.open()
    records = [await record_when(jobs, job_id, over) for job_id in ids]
    assert {(record.status, record.fence) for record in records} == {(JobStatus.COMPLETED, 1)}
    assert before <= {job["metadata"]["uid"] for job in release.namespace.all("jobs")}
    # What comes after it goes by the new template.
    await until(lambda: knows_the_new_template(release.namespace))
    record = await record_when(jobs, await double.later({"n": 1}), over)
    newer = release.namespace.get("job", f"job-{record.id}-1")
    assert newer["spec"]["template"]["metadata"]["labels"]["revision"] == "2"


def knows_the_new_template(namespace: Kubectl) -> bool:
    runner = namespace.get("jobrunner", "default")
    observed: int = runner["status"]["observedGeneration"]
    return "template" in runner["spec"] and observed == runner["metadata"]["generation"]


async def test_every_permission_is_used_and_no_other_is_asked_for(
    release: Place, jobs: Store
) -> None:
    namespace = release.namespace
    user = f"system:serviceaccount:{namespace.namespace}:{RELEASE}"
    audited(user)
    namespace.apply(every_minute("permitted"))
    finished = await double.later({"n": 1})
    failed = await leave.later({"n": 3})
    cancelled = await sleep.later({"seconds": 60})
    taken = await double.later({"n": 2}, delay=3)
    namespace.apply(somebodys_job(f"job-{taken}-1"))
    await record_when(jobs, cancelled, begun)
    await jobs.cancel(cancelled)
    for job_id in (finished, failed, cancelled):
        await record_when(jobs, job_id, over)
    record = await record_when(jobs, taken, over)
    assert (record.status, record.fence) == (JobStatus.COMPLETED, 2)

    granted = permissions(namespace)
    with contextlib.suppress(TimeoutError):
        await until(lambda: granted <= used(user), 20)

    assert used(user) == granted
    refused = [entry for entry in audited(user) if entry["responseStatus"].get("code") == 403]
    assert refused == []


def permissions(namespace: Kubectl) -> set[tuple[str, str, str]]:
    """API group, resource and verb of each that the chart grants."""
    rules = [
        rule
        for role in namespace.all("role", f"app.kubernetes.io/instance={RELEASE}")
        for rule in role["rules"]
    ]
    return {
        one
        for rule in rules
        for one in product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }


def used(user: str) -> set[tuple[str, str, str]]:
    """Those that the API server was asked to honour."""
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


@pytest.mark.parametrize("keep", [True, False])
async def test_removing_a_release_leaves_what_keep_says(
    kubectl: Kubectl, server_url: str, chart_values: dict[str, Any], keep: bool
) -> None:
    require_own_cluster()
    chart_values["crds"] = {"keep": keep}
    chart_values["migrations"] = {"mode": "hook"}
    with empty_place(kubectl, server_url) as place:
        helm = Helm(place.namespace, "helm" if keep else HELM_3)
        helm.install(chart_values, "--wait", "--timeout", "120s")
        async with opened(place) as store:
            job_id = await gate.job.later({"n": 7})
            await record_when(store, job_id, begun)

            helm.uninstall()

            await until(lambda: not place.namespace.all("lease"))
            for kind in ("pods", "deployments", "configmaps", "serviceaccounts", "roles",
                         "rolebindings", "services"):  # fmt: skip
                assert of_the_chart(place, kind) == [], kind
            definitions = [
                one["metadata"]["name"]
                for one in place.namespace.all("customresourcedefinitions")
                if one["spec"]["group"] == "server-jobs.dev"
            ]
            if keep:
                assert len(definitions) == 2
                assert [one["metadata"]["name"] for one in place.namespace.all("jobrunners")] == [
                    "default"
                ]
                gate.open()
                record = await record_when(store, job_id, over)
                assert record.status is JobStatus.COMPLETED
            else:
                assert definitions == []
                await until(lambda: not place.namespace.all("jobs"))
                record = await record_when(
                    store, job_id, lambda record: record.status is JobStatus.PENDING
                )
                assert record.release_count == 1


def test_a_database_that_is_away_makes_it_unready_and_no_crash_loop(
    kubectl: Kubectl, server_url: str, chart_values: dict[str, Any]
) -> None:
    chart_values["database"] = {"existingSecret": "nowhere"}
    with empty_place(kubectl, server_url) as place:
        nowhere = "postgresql://app:hidden-word@127.0.0.1:1/app"
        place.namespace.run(
            "create", "secret", "generic", "nowhere", f"--from-literal=url={nowhere}"
        )
        for mode in ("init", "none"):
            chart_values |= {"migrations": {"mode": mode}, "fullnameOverride": f"away-{mode}"}
            Helm(place.namespace).install(chart_values, release=f"away-{mode}")
        waiting = ("wait", "--for=condition=Available", "deployment", "--all", "--timeout=25s")
        with pytest.raises(AssertionError, match="timed out"):
            place.namespace.run(*waiting)

        pods = place.namespace.all("pods")
        assert len(pods) == 2
        for pod in pods:
            status = pod["status"]
            running = [
                one
                for one in status.get("initContainerStatuses", []) + status["containerStatuses"]
                if "running" in one["state"]
            ]
            assert [one["restartCount"] for one in running] == [0], status
            log = place.namespace.run("logs", pod["metadata"]["name"], "-c", running[0]["name"])
            assert "hidden-word" not in log
            assert "127.0.0.1" in log


def of_the_chart(place: Place, kind: str) -> list[dict[str, Any]]:
    found = place.namespace.all(kind, f"app.kubernetes.io/instance={RELEASE}")
    return [one for one in found if "deletionTimestamp" not in one["metadata"]]
