"""What the view knows of Jobs while lists are on their way."""

import asyncio
from collections.abc import Callable
from typing import cast
from uuid import uuid4

from server_jobs.records import Lease
from server_jobs_operator.jobs_view import JobsView, KnownJob
from server_jobs_operator.kube import Json, Kube
from server_jobs_operator.names import FENCE, JOB_ID, RUNNER


class SlowListStub:
    """An API server whose list, of the moment of the request, arrives when it is told to."""

    def __init__(self) -> None:
        self.items: list[Json] = []
        self.asked = asyncio.Event()
        self.arrives = asyncio.Event()

    async def list(
        self, path: str, selector: str, trim: Callable[[Json], Json]
    ) -> tuple[list[Json], str]:
        items = list(self.items)
        self.asked.set()
        await self.arrives.wait()
        return [trim(item) for item in items], "1"


def job(job_id: str, *conditions: str) -> Json:
    return {
        "metadata": {
            "name": f"job-{job_id}-1",
            "namespace": "jobs",
            "uid": str(uuid4()),
            "labels": {JOB_ID: job_id, FENCE: "1", RUNNER: "default"},
        },
        "spec": {},
        "status": {"conditions": [{"type": one, "status": "True"} for one in conditions]},
    }


async def test_a_job_created_while_a_list_is_on_its_way_is_not_taken_for_deleted() -> None:
    gone: list[str] = []

    def note(known: KnownJob, is_gone: bool) -> None:
        if is_gone:
            gone.append(known.lease.job_id)

    server = SlowListStub()
    view = JobsView(cast(Kube, server), ("jobs",), "install", note)
    view.add(job("before"))

    relisting = asyncio.create_task(view.relist("jobs"))
    await server.asked.wait()
    view.add(job("meanwhile"))
    server.arrives.set()

    assert [known.lease.job_id for known in await relisting] == ["meanwhile"]
    assert gone == ["before"]
    assert view.of(Lease("before", 1)) is None


async def test_jobs_in_flight_are_those_that_have_neither_ended_nor_gone() -> None:
    server = SlowListStub()
    server.arrives.set()
    view = JobsView(cast(Kube, server), ("jobs",), "install", lambda known, gone: None)
    running, ends = job("runs"), job("ends")
    view.add(running)
    view.add(ends)
    view.add(job("ended-before", "Failed"))
    assert (view.in_flight(), view.in_flight("jobs", "default")) == (2, 2)

    for _ in range(2):  # told twice, counted once
        view.add(ends | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}})
    assert view.in_flight("jobs", "default") == 1

    await view.relist("jobs")
    assert (view.in_flight(), view.in_flight("jobs", "other"), len(view)) == (0, 0, 0)
