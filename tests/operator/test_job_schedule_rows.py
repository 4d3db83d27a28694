"""JobSchedules and their rows: whatever happens to either, both end up telling the truth."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from server_jobs.database import Database
from server_jobs.errors import DatabaseError, DataRefusedError
from server_jobs.schedules import Schedule, ScheduleRecord, ScheduleStore
from server_jobs_operator.cluster.kube import Json, Kube
from server_jobs_operator.controllers.job_schedules import JobSchedules
from server_jobs_operator.telemetry.events import Recorder
from tests.operator.samples import SETTINGS
from tests.support.databases.pass_through import PassingDatabase


class ServerStub:
    """An API server that takes every status, and keeps it."""

    generation = 1

    def __init__(self) -> None:
        self.statuses: dict[str, Json] = {}

    async def patch(self, path: str, body: Json) -> Json:
        name = path.split("/")[-2]
        self.statuses[name] = body["status"]
        return {**resource(name, self.generation), "status": body["status"]}

    async def create(self, path: str, body: Json) -> Json:
        return body


class CountingDatabase(PassingDatabase):
    """Passes everything on, and counts."""

    calls = 0

    async def _run(self, statements: Any) -> Any:
        self.calls += 1
        return await super()._run(statements)


class RefusingStore(ScheduleStore):
    """Doesn't take the schedules of one name, as a database may."""

    refused: tuple[str, DatabaseError] | None = None

    async def put(self, schedule: Schedule) -> ScheduleRecord:
        if self.refused is not None and schedule.name == self.refused[0]:
            raise self.refused[1]
        return await super().put(schedule)


class Scene:
    """JobSchedules on a table in memory."""

    def __init__(self, database: Database) -> None:
        self.database = CountingDatabase(database)
        self.store = RefusingStore(self.database)
        self.server = ServerStub()
        kube = cast(Kube, self.server)
        self.schedules = JobSchedules(kube, self.store, SETTINGS, Recorder(kube, "me"))

    async def put(self, *names: str, generation: int = 1, **spec: Any) -> None:
        for name in names:
            await self.schedules.changed(resource(name, generation, **spec), deleted=False)

    async def rows(self) -> list[str]:
        return [row.name for row in await self.store.list_all()]

    def ready(self, name: str) -> tuple[str, str, str]:
        (condition,) = self.server.statuses[name]["conditions"]
        return condition["status"], condition["reason"], condition["message"]


def resource(name: str, generation: int = 1, **spec: Any) -> Json:
    return {
        "metadata": {"namespace": "jobs", "name": name, "uid": name, "generation": generation},
        "spec": {"jobName": "Report", "schedule": "0 6 * * *", **spec},
    }


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene(database)


async def test_a_row_that_has_vanished_is_added_again(scene: Scene) -> None:
    await scene.put("a", "b")
    await scene.store.remove("jobs/a")

    await scene.schedules.refresh()

    assert await scene.rows() == ["jobs/a", "jobs/b"]
    assert scene.ready("a")[0] == "True"


async def test_where_all_is_well_one_query_is_enough(scene: Scene) -> None:
    await scene.put("a", "b", "c")
    scene.database.calls = 0

    await scene.schedules.refresh()

    assert scene.database.calls == 1


async def test_a_row_that_cannot_be_added_is_not_ready(scene: Scene) -> None:
    await scene.put("a")
    await scene.store.remove("jobs/a")
    scene.store.refused = "jobs/a", DataRefusedError("the database takes no such text")

    await scene.schedules.refresh()
    assert scene.ready("a") == (
        "False",
        "InvalidSchedule",
        "the database takes no such text",
    )

    scene.store.refused = None
    await scene.schedules.refresh()
    assert scene.ready("a")[0] == "True"


async def test_one_that_goes_wrong_leaves_the_others_alone(scene: Scene) -> None:
    await scene.put("a", "b", "c")
    for name in ("a", "b", "c"):
        await scene.store.remove(f"jobs/{name}")
    scene.store.refused = "jobs/a", DatabaseError("permission denied")

    await scene.schedules.refresh()

    assert await scene.rows() == ["jobs/b", "jobs/c"]


async def test_after_an_invalid_edit_the_last_valid_one_goes_on_and_the_status_says_so(
    scene: Scene,
) -> None:
    await scene.put("a")
    await scene.put("a", generation=2, schedule="61 6 * * *")
    status, reason, message = scene.ready("a")

    assert (status, reason) == ("False", "InvalidSchedule")
    assert message.endswith("; until that is fixed, the last valid version goes on firing")
    assert (await scene.store.get("jobs/a")).cron_expression == "0 6 * * *"


async def test_one_that_never_was_valid_does_not_fire(scene: Scene) -> None:
    await scene.put("a", schedule="61 6 * * *")

    assert "goes on firing" not in scene.ready("a")[2]
    assert await scene.rows() == []


async def test_somebody_elses_row_of_the_same_name_is_not_taken_for_ones_own(
    scene: Scene,
) -> None:
    await scene.store.put(Schedule("jobs/a", "Other", "@daily", managed_by="cli"))
    await scene.put("a")
    await scene.schedules.refresh()
    status, reason, message = scene.ready("a")

    assert (status, reason) == ("False", "InvalidSchedule")
    assert "the name is taken by one that cli manages" in message
    assert scene.server.statuses["a"]["nextFireTime"] is None


async def test_one_that_is_deleted_while_it_is_written_leaves_no_row(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = ScheduleStore.put

    async def deleted_meanwhile(self: ScheduleStore, schedule: Schedule) -> ScheduleRecord:
        await scene.schedules.changed(resource("a"), deleted=True)
        return await put(self, schedule)

    monkeypatch.setattr(RefusingStore, "put", deleted_meanwhile)

    await scene.put("a")
    await scene.schedules.refresh()

    assert await scene.rows() == []


async def test_what_is_edited_while_it_is_written_is_written_as_it_is_now(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = ScheduleStore.put
    edits: list[Mapping[str, Any]] = [resource("a", 2, schedule="0 7 * * *")]

    async def edited_meanwhile(self: ScheduleStore, schedule: Schedule) -> ScheduleRecord:
        if edits:
            await scene.schedules.changed(edits.pop(), deleted=False)
        return await put(self, schedule)

    monkeypatch.setattr(RefusingStore, "put", edited_meanwhile)

    await scene.put("a")

    assert (await scene.store.get("jobs/a")).cron_expression == "0 7 * * *"


async def test_rows_of_resources_that_are_gone_are_removed(scene: Scene) -> None:
    await scene.store.put(Schedule("jobs/gone", "Report", "@daily", managed_by="crd:jobs/gone"))
    await scene.store.put(Schedule("other/there", "Report", "@daily", managed_by="crd:other/there"))

    await scene.schedules.refresh()
    assert await scene.rows() == ["jobs/gone", "other/there"]  # jobs hasn't been listed yet
    await scene.schedules.replace([], "jobs")
    await scene.schedules.refresh()

    assert await scene.rows() == ["other/there"]


async def test_an_edit_that_the_answer_to_a_status_shows_first_is_written_too(scene: Scene) -> None:
    scene.server.generation = 2
    await scene.put("a")
    await scene.put("a", generation=2, schedule="0 7 * * *")

    assert (await scene.store.get("jobs/a")).cron_expression == "0 7 * * *"
