"""A resource is changed while its status is being written: the answer has the new spec by then,
and what the watch tells of it afterwards must still be news.
"""

from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from server_jobs import connect
from server_jobs.database import Database
from server_jobs.launches.store import LaunchStore
from server_jobs.migrate import migrate
from server_jobs.schedules import ScheduleStore
from server_jobs_operator.cluster.kube import MERGE, Json, Kube
from server_jobs_operator.controllers.job_runners import JobRunners
from server_jobs_operator.controllers.job_schedules import JobSchedules
from server_jobs_operator.telemetry.events import Recorder
from server_jobs_operator.telemetry.health import Health
from server_jobs_operator.telemetry.metrics import Metrics
from server_jobs_operator.term import Term
from tests.operator.samples import SETTINGS


class KubeOfHastyUser(Kube):
    """A stand-in whose user changes the object right before its first status arrives."""

    def __init__(self, before: Json, after: Json) -> None:
        self.before, self.after = version(before, 1), version(after, 2)
        self.statuses: list[Json] = []

    async def create(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        return body

    async def patch(
        self, path: str, body: Json, *, kind: str = MERGE, manager: str | None = None
    ) -> Json:
        self.statuses.append(body["status"])
        return deepcopy({**version(self.after, 2 + len(self.statuses)), **body})


def version(body: Json, number: int) -> Json:
    return {**body, "metadata": {**body["metadata"], "resourceVersion": str(number)}}


def resource(generation: int, **spec: Any) -> Json:
    created = {"uid": "uid-of-it", "creationTimestamp": "2027-01-01T12:00:00Z"}
    metadata = {"namespace": "jobs", "name": "default", "generation": generation, **created}
    return {"metadata": metadata, "spec": spec}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    migrate(url)
    database = connect(url)
    yield database
    await database.close()


async def test_a_runner_that_is_changed_while_its_status_is_written_is_served_as_changed(
    launches: LaunchStore,
) -> None:
    secret = {"secretRef": {"name": "database"}}
    kube = KubeOfHastyUser(
        resource(1, image="jobs:1", database=secret), resource(2, image="jobs:2", database=secret)
    )
    term = Term.begin(kube, launches, SETTINGS, Metrics(), Health())
    runners = JobRunners(term, lambda _: None)

    await runners.changed(kube.before, deleted=False)
    await runners.refresh()
    await runners.changed(kube.after, deleted=False)
    await runners.refresh()

    served = term.runners.get("jobs", "default")
    assert served is not None
    assert (served.spec.image, served.generation) == ("jobs:2", 2)
    assert [status["observedGeneration"] for status in kube.statuses] == [1, 2]


async def test_a_schedule_that_is_changed_while_its_status_is_written_fires_as_changed(
    database: Database,
) -> None:
    kube = KubeOfHastyUser(
        resource(1, jobName="Double", schedule="@daily"),
        resource(2, jobName="Double", schedule="@hourly"),
    )
    store = ScheduleStore(database)
    schedules = JobSchedules(kube, store, SETTINGS, Recorder(kube, "test"))

    await schedules.changed(kube.before, deleted=False)
    await schedules.changed(kube.after, deleted=False)

    row = await store.find("jobs/default")
    assert row is not None
    assert row.cron_expression == "@hourly"
    assert [status["observedGeneration"] for status in kube.statuses] == [1, 2]
