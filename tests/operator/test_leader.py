"""A leader's term: what it waits for, and how it ends."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest

from server_jobs import JobStatus, connect
from server_jobs.database import Database
from server_jobs.migrate import migrate
from server_jobs.schedules.schedule import Schedule
from server_jobs.schedules.store import ScheduleStore
from server_jobs.store.store import Store
from server_jobs_operator.cluster.names import (
    config_map_path,
    group_path,
    leases_path,
    resources_path,
)
from server_jobs_operator.controllers import default_runner, kopf_watch
from server_jobs_operator.leadership import leader
from server_jobs_operator.operator import Operator
from server_jobs_operator.resources.known import Keeper
from server_jobs_operator.settings import OperatorSettings
from server_jobs_operator.telemetry.health import Health
from server_jobs_operator.telemetry.metrics import Metrics
from server_jobs_operator.term import Term
from tests.operator.fake_kube import FakeKube, job_runner_body
from tests.operator.samples import SETTINGS
from tests.support.scene import new_job
from tests.support.workers import until


class FakeKopfWatch:
    """Instead of kopf, which needs an API server over HTTP: nothing changes."""

    def __init__(self, term: Term, keepers: Mapping[str, Keeper]) -> None:
        pass

    async def run(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def kube() -> FakeKube:
    kube = FakeKube()
    kube.objects[resources_path("jobrunners", "jobs", "default")] = job_runner_body()
    return kube


class Replica:
    """An operator that runs until it is told to stop."""

    def __init__(self, kube: FakeKube, database: Database, settings: OperatorSettings) -> None:
        self.health, self.metrics, self.stop = Health(), Metrics(), asyncio.Event()
        operator = Operator(kube, database, settings, self.metrics, self.health)
        self.running = asyncio.ensure_future(operator.run(self.stop))

    def metrics_of(self, name: str, namespace: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            f"server_jobs_{name}", {"namespace": namespace}
        )


@pytest.fixture
async def database(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(leader, "KopfWatch", FakeKopfWatch)
    monkeypatch.setattr(leader, "_AGAIN_SECONDS", 0.05)
    migrate(postgres_url)
    database = connect(postgres_url)
    yield database
    await database.close()


def test_kopf_looks_neither_at_namespaces_nor_at_definitions() -> None:
    assert kopf_watch.kopf_settings().scanning.disabled is True


async def test_a_leader_that_is_stopped_finishes_what_it_creates_and_lets_go(
    kube: FakeKube, database: Database
) -> None:
    store = Store(database)
    replica = Replica(kube, database, SETTINGS)
    await until(lambda: replica.health.loops != [], "it leads")
    kube.creating.clear()
    job = new_job("SendEmail")
    await store.enqueue([job])
    await until(lambda: kube.called("create", "/jobs/jobs") > 0, "a Job is being created")
    held = kube.called("create", "/jobs/jobs")

    replica.stop.set()
    await asyncio.sleep(0.3)
    assert not replica.running.done()
    await store.enqueue([new_job("SendEmail")])
    kube.creating.set()
    await replica.running

    assert kube.called("create", "/jobs/jobs") <= held + 1
    names = [one["metadata"]["name"] for one in kube.all("jobs")]
    assert f"job-{job.id}-1" in names
    assert (await store.get(job.id)).status is JobStatus.RUNNING
    lease = kube.objects[leases_path("jobs", SETTINGS.lease_name)]
    assert lease["spec"]["holderIdentity"] == ""
    assert replica.health.loops == []


async def test_definitions_that_are_missing_are_asked_for_and_waited_for(
    kube: FakeKube, database: Database
) -> None:
    group = kube.objects.pop(group_path())
    replica = Replica(kube, database, SETTINGS)
    await until(lambda: "custom resources" in replica.health.problems, "it says so")
    assert (
        "server-jobs-operator crds | kubectl apply -f -"
        in replica.health.problems["custom resources"]
    )
    assert replica.health.loops == []

    kube.objects[group_path()] = group
    await until(lambda: "claim" in replica.health.loops, "it goes on")
    assert "custom resources" not in replica.health.problems

    replica.stop.set()
    await replica.running


async def test_the_default_job_runner_is_applied_as_soon_as_it_can_be(
    kube: FakeKube, database: Database
) -> None:
    manifest = "metadata: {name: default}\nspec: {image: 'jobs:1'}"
    at = config_map_path("jobs", "ours")
    kube.objects[at] = {"data": {default_runner.KEY: manifest}}
    kube.fails("patch", "/jobrunners/default", 422, "spec.database is required")
    settings = replace(SETTINGS, config_map="ours", reconcile_interval=1.0)
    replica = Replica(kube, database, settings)
    await until(lambda: "default JobRunner" in replica.health.problems, "it says so")
    assert "spec.database is required" in replica.health.problems["default JobRunner"]

    kube.recovers()
    await until(lambda: "default JobRunner" not in replica.health.problems, "it was applied")
    assert resources_path("jobrunners", "jobs", "default") in kube.objects

    replica.stop.set()
    await replica.running


TWO = replace(SETTINGS, namespaces=("jobs", "other"), reconcile_interval=1.0)


def serve_two(kube: FakeKube) -> None:
    for namespace in ("jobs", "other"):
        kube.objects[resources_path("jobrunners", namespace, "default")] = job_runner_body(
            namespace=namespace, queues=[namespace]
        )


def forbid(kube: FakeKube, namespace: str) -> None:
    for verb in ("list", "watch"):
        kube.fails(verb, f"/namespaces/{namespace}/", 403, f"cannot {verb} in {namespace}")


async def launched(kube: FakeKube, store: Store, queue: str) -> None:
    job = new_job("SendEmail", queue=queue)
    await store.enqueue([job])
    await until(lambda: any(job.id in path for path in kube.objects), f"{queue} is served")


async def test_a_namespace_that_cannot_be_read_at_the_start_stops_no_other(
    kube: FakeKube, database: Database
) -> None:
    store = Store(database)
    serve_two(kube)
    forbid(kube, "other")
    schedules = ScheduleStore(database)
    await schedules.put(Schedule("other/kept", "Report", "@daily", managed_by="crd:other/kept"))
    replica = Replica(kube, database, TWO)

    await launched(kube, store, "jobs")
    await until(lambda: replica.metrics_of("namespace_served", "other") == 0, "it is counted")
    await until(lambda: not replica.health.problems, "it is ready")
    assert "cannot list in other" in replica.health.degraded["namespace other"]
    assert replica.metrics_of("namespace_served", "jobs") is None
    assert await schedules.find("other/kept") is not None

    kube.recovers()
    await launched(kube, store, "other")
    await until(lambda: not replica.health.degraded, "nothing is wrong any more")
    assert replica.metrics_of("namespace_served", "other") == 1

    replica.stop.set()
    await replica.running


async def test_a_namespace_that_is_lost_later_stops_no_other(
    kube: FakeKube, database: Database
) -> None:
    store = Store(database)
    serve_two(kube)
    replica = Replica(kube, database, TWO)
    await launched(kube, store, "jobs")
    await launched(kube, store, "other")

    forbid(kube, "other")
    await until(lambda: "namespace other" in replica.health.degraded, "it is named")
    reconciled = kube.called("list", "/namespaces/jobs/jobs")
    await until(lambda: kube.called("list", "/namespaces/jobs/jobs") > reconciled, "it goes on")
    await launched(kube, store, "jobs")
    assert replica.health.problems == {}

    replica.stop.set()
    await replica.running


async def test_if_no_namespace_can_be_read_the_operator_is_unready(
    kube: FakeKube, database: Database
) -> None:
    serve_two(kube)
    forbid(kube, "jobs")
    forbid(kube, "other")
    replica = Replica(kube, database, TWO)

    await until(lambda: "namespaces" in replica.health.problems, "it is unready")

    replica.stop.set()
    await replica.running
    assert replica.health.degraded == {}
