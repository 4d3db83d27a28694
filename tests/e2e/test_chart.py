"""The chart, installed into a namespace that admits restricted pods alone."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from server_jobs import JobStatus
from server_jobs.store.store import Store
from server_jobs_operator.telemetry.readiness import OPERATOR_PODS
from tests.e2e.app.jobs import double, gate
from tests.e2e.image_names import ROOT
from tests.e2e.support.helm import RELEASE, Helm
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.node import audited, require_own_cluster
from tests.e2e.support.permissions import (
    account,
    every_minute,
    granted,
    need_everything,
    refused,
    used,
)
from tests.e2e.support.place import Place, empty_place, opened, values
from tests.e2e.support.waiting import begun, over, record_when, until

DEFINITIONS = {f"CustomResourceDefinition/{path.stem}" for path in (ROOT / "crds").iterdir()}
HELM_3 = os.environ.get("SERVER_JOBS_E2E_HELM_3", "")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def chart_values(image: str, operator_image: str) -> dict[str, Any]:
    return values(image, operator_image)


@pytest.fixture(scope="module")
def release(kubectl: Kubectl, shared_url: str, image: str, operator_image: str) -> Iterator[Place]:
    """Installed once for the tests that ask for no other."""
    with empty_place(kubectl, shared_url) as place:
        helm = Helm(place.namespace)
        helm.install(values(image, operator_image), "--wait", "--timeout", "120s")
        yield place
        helm.uninstall()


@pytest.fixture
async def jobs(release: Place) -> AsyncIterator[Store]:
    async with opened(release) as store:
        yield store


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


def test_helm_test_finds_all_in_order_and_an_operator_that_isnt(release: Place) -> None:
    helm, namespace = Helm(release.namespace), release.namespace
    assert "Succeeded" in helm.test()

    namespace.run("scale", "deployment", RELEASE, "--replicas=0")
    namespace.run("wait", "--for=delete", "pod", "-l", OPERATOR_PODS, "--timeout=60s")
    try:
        helm.refused_test()
        log = namespace.run("logs", f"{RELEASE}-doctor")
        assert "there is no pod of the operator" in log
    finally:
        namespace.run("scale", "deployment", RELEASE, "--replicas=1")
        namespace.run("rollout", "status", f"deployment/{RELEASE}", "--timeout=120s")
    assert "Succeeded" in helm.test()


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
    user = account(release.namespace)
    audited(user)
    await need_everything(release.namespace, jobs)

    wanted = granted(release.namespace)
    with contextlib.suppress(TimeoutError):
        await until(lambda: wanted <= used(user), 20)
    assert used(user) == wanted
    assert refused(user) == []


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
            expected = {"JobRunner/default", *DEFINITIONS} if keep else set()
            with contextlib.suppress(TimeoutError):
                await until(lambda: left_of_the_chart(place) == expected)
            assert left_of_the_chart(place) == expected
            if keep:
                gate.open()
                record = await record_when(store, job_id, over)
                assert record.status is JobStatus.COMPLETED
            else:
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


def left_of_the_chart(place: Place) -> set[str]:
    """Kind and name of all that the API server has with the release's label, of whatever kind."""
    kinds = place.namespace.run("api-resources", "--verbs=list", "-o", "name").split()
    label = f"app.kubernetes.io/instance={RELEASE}"
    try:
        found = place.namespace.all(",".join(kinds), label)
    except AssertionError as error:
        return {str(error)}  # a kind that goes with its definition was still in the list
    return {
        f"{one['kind']}/{one['metadata']['name']}"
        for one in found
        if "deletionTimestamp" not in one["metadata"]
    }


def of_the_chart(place: Place, kind: str) -> list[dict[str, Any]]:
    found = place.namespace.all(kind, f"app.kubernetes.io/instance={RELEASE}")
    return [one for one in found if "deletionTimestamp" not in one["metadata"]]
