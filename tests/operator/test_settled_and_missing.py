"""Acting on what was judged, on a database in memory and an API server that notes its calls."""

import time
from typing import Any, cast

import pytest

from server_jobs import JobStatus, create_job_registry, define_job
from server_jobs.database import Database
from server_jobs.launches.store import LaunchStore
from server_jobs.records.outcomes import Completed
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import Claim
from server_jobs_operator.cluster.kube import Json, Kube
from server_jobs_operator.cluster.names import FENCE, JOB_ID, RUNNER
from server_jobs_operator.launches.attendant import Attendant
from server_jobs_operator.telemetry.health import Health
from server_jobs_operator.telemetry.metrics import Metrics
from server_jobs_operator.term import Term
from tests.operator.samples import SETTINGS, ended, pod, runner

PREFIX = "k8s/here/"


@define_job
async def work(params: dict[str, Any]) -> None:
    pass


registry = create_job_registry().register(work)


class ServerStub:
    """An API server that notes what is patched, and takes it."""

    def __init__(self) -> None:
        self.patched: list[Json] = []

    async def patch(self, path: str, body: Json) -> Json:
        self.patched.append(body)
        return body

    async def create(self, path: str, body: Json) -> Json:
        return body


class Scene:
    """A record that a pod has begun, of a runner whose pods get so many seconds to end in."""

    def __init__(self, database: Database) -> None:
        self.launches = LaunchStore(database, PREFIX)
        registry.bind(database)
        self.server = ServerStub()
        kube = cast(Kube, self.server)
        term = Term.begin(kube, self.launches, SETTINGS, Metrics(), Health())
        term.runners.put(runner(ttlSecondsAfterFinished=60, gracePeriodSeconds=600))
        self.view = term.view
        self.attendant = Attendant(term)

    async def begun(self) -> Claim:
        await work.later({})
        worker_id = f"{PREFIX}jobs/default/pod"
        (claimed,) = await self.launches.records.claim(
            ClaimRequest("default", None, 1, worker_id, 300)
        )
        return claimed.claim

    async def status(self, claim: Claim) -> JobStatus:
        return (await self.launches.records.get(claim.job_id)).status


@pytest.mark.parametrize("seconds", [60, 86_400])
async def test_the_time_to_live_of_a_job_that_is_over_is_set_once_and_its_details_go(
    database: Database, seconds: int
) -> None:
    scene = Scene(database)
    claim = await scene.begun()
    await scene.launches.records.settle({claim: Completed("null")})
    scene.view.add(
        {
            "metadata": {
                "name": "a-job",
                "namespace": "jobs",
                "uid": "u",
                "labels": {JOB_ID: claim.job_id, FENCE: str(claim.fence), RUNNER: "default"},
            },
            "spec": {"ttlSecondsAfterFinished": seconds},
            "status": {"conditions": [{"type": "Complete", "status": "True", "message": "well"}]},
        }
    )

    known = scene.view.of(claim)
    assert known is not None
    known.add_pod(pod(ended(0)))

    await scene.attendant.attend([claim])
    await scene.attendant.attend([claim])

    set_to = [body["spec"]["ttlSecondsAfterFinished"] for body in scene.server.patched]
    assert set_to == ([] if seconds == 60 else [60])
    assert (known.finished, known.pods) == (True, {})
    assert "well" not in str(known.body)


async def test_a_begun_record_without_a_job_is_lost_only_after_its_runners_grace_period(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(database)
    claim = await scene.begun()
    moment = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: moment)

    for moment in (1_000.0, 1_600.0):  # noqa: B007 - the clock
        await scene.attendant.attend([claim])
        assert await scene.status(claim) is JobStatus.RUNNING
    moment = 1_616.0
    await scene.attendant.attend([claim])

    assert await scene.status(claim) is JobStatus.PENDING
