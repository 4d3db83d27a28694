"""What the view knows of Jobs and pods: while lists are on their way, and as they change."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast
from uuid import uuid4

import pytest

from server_jobs.records.rows import Claim
from server_jobs_operator.cluster.jobs_view import JobsView
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.cluster.kube import Json, Kube, KubeError
from server_jobs_operator.cluster.names import FENCE, JOB_ID, RUNNER
from server_jobs_operator.cluster.namespaces import Namespaces
from server_jobs_operator.cluster.reasons import Reason
from tests.operator.samples import condition, ended, pod


class ServerStub:
    """An API server: lists of the moment of the request, which arrive when they are told to, and
    watches of two queues, each of which ends at an error or at None.
    """

    def __init__(self) -> None:
        self.items: list[Json] = []
        self.asked = asyncio.Event()
        self.arrives = asyncio.Event()
        self.watches = 0
        self._news: dict[str, asyncio.Queue[tuple[str, Json] | KubeError | None]] = {
            "jobs": asyncio.Queue(),
            "pods": asyncio.Queue(),
        }

    async def list(
        self, path: str, selector: str, trim: Callable[[Json], Json]
    ) -> tuple[list[Json], str]:
        items = list(self.items) if path.endswith("jobs") else []
        self.asked.set()
        await self.arrives.wait()
        return [trim(item) for item in items], "1"

    async def watch(
        self, path: str, selector: str, version: str
    ) -> AsyncIterator[tuple[str, Json]]:
        self.watches += 1
        news = self._news[path.rpartition("/")[2]]
        while (change := await news.get()) is not None:
            if isinstance(change, KubeError):
                raise change
            yield change

    async def tell(self, kind: str, *changes: tuple[str, Json] | KubeError | None) -> None:
        """Let the watch tell of these, and wait until it has."""
        for change in changes:
            self._news[kind].put_nowait(change)
        while not self._news[kind].empty():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        await asyncio.sleep(0)


class Seen:
    """A view of one namespace that watches, and what it told of."""

    def __init__(self, server: ServerStub) -> None:
        self.server = server
        self.gone: list[str] = []
        self.view = JobsView(cast(Kube, server), Namespaces(("jobs",), lambda *_: None), "install")
        self.view.subscribe(self._note)

    def _note(self, known: KnownJob) -> None:
        if known.gone_at is not None:
            self.gone.append(known.claim.job_id)

    def __getitem__(self, job_id: str) -> KnownJob:
        known = self.view.of(Claim(job_id, 1))
        assert known is not None
        return known

    async def pods(self, *pods: Json, change: str = "MODIFIED") -> None:
        await self.server.tell("pods", *((change, one) for one in pods))


@pytest.fixture
def server() -> ServerStub:
    return ServerStub()


@pytest.fixture
async def seen(server: ServerStub) -> AsyncIterator[Seen]:
    seen = Seen(server)
    server.arrives.set()
    watching = asyncio.create_task(seen.view.run())
    await seen.view.synced.wait()
    server.asked.clear()
    yield seen
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def job(job_id: str, *conditions: str, version: int | str = 1, **spec: Any) -> Json:
    return {
        "metadata": {
            "name": f"job-{job_id}-1",
            "namespace": "jobs",
            "uid": f"uid-of-{job_id}",
            "resourceVersion": str(version),
            "labels": {JOB_ID: job_id, FENCE: "1", RUNNER: "default"},
        },
        "spec": spec,
        "status": {
            "conditions": [
                {"type": one, "status": "True", "message": "at length"} for one in conditions
            ]
        },
    }


def pod_of(
    job_id: str, state: Json | None = None, *, deleting: bool = False, **status: Any
) -> Json:
    made = pod(state, **status)
    made["metadata"] = {
        "name": "a-pod",
        "uid": "p",
        "resourceVersion": "1",
        "ownerReferences": [{"kind": "Job", "uid": f"uid-of-{job_id}"}],
    }
    if deleting:
        made["metadata"]["deletionTimestamp"] = "2027-01-01T12:00:00Z"
    return made


# ── lists that are on their way ──────────────────────────────────────────────────────────────


async def test_a_job_created_while_a_list_is_on_its_way_is_not_taken_for_deleted(
    server: ServerStub,
) -> None:
    seen = Seen(server)
    seen.view.add(job("before"))

    relisting = asyncio.create_task(seen.view.relist("jobs"))
    await server.asked.wait()
    seen.view.add(job("meanwhile"))
    server.arrives.set()

    assert [known.claim.job_id for known in await relisting] == ["meanwhile"]
    assert seen.gone == ["before"]
    assert seen.view.of(Claim("before", 1)) is None


async def test_a_list_does_not_undo_what_the_watch_told_meanwhile(
    server: ServerStub, seen: Seen
) -> None:
    server.items = [job("ends", version=9), job("goes", version=9), job("flashes", version=9)]
    await server.tell("jobs", ("ADDED", job("ends", version=9)), ("ADDED", job("goes", version=9)))

    server.arrives.clear()
    relisting = asyncio.create_task(seen.view.relist("jobs"))
    await server.asked.wait()
    await server.tell(
        "jobs",
        ("MODIFIED", job("ends", "Complete", version=10)),  # ten is later than nine
        ("DELETED", job("goes", version=11)),
        ("DELETED", job("flashes", version=12)),
    )
    server.arrives.set()

    assert [known.claim.job_id for known in await relisting] == ["ends"]
    assert seen["ends"].finished
    assert (seen.view.in_flight(), seen.gone) == (0, ["goes"])


async def test_where_versions_are_no_numbers_the_list_counts(seen: Seen) -> None:
    seen.view.add(job("a", version="b"))
    seen.view.add(job("a", "Complete", version="a"))

    assert seen["a"].finished


async def test_jobs_in_flight_are_those_that_have_neither_ended_nor_gone(
    server: ServerStub,
) -> None:
    server.arrives.set()
    view = Seen(server).view
    view.add(job("runs"))
    view.add(job("ends"))
    view.add(job("ended-before", "Failed"))
    assert (view.in_flight(), view.in_flight("jobs", "default")) == (2, 2)

    for _ in range(2):  # told twice, counted once
        view.add(job("ends", "Complete"))
    assert view.in_flight("jobs", "default") == 1

    await view.relist("jobs")
    assert (view.in_flight(), view.in_flight("jobs", "other"), len(view)) == (0, 0, 0)


# ── what is found ────────────────────────────────────────────────────────────────────────────


async def test_an_eviction_that_is_told_after_the_exit_status_replaces_it(seen: Seen) -> None:
    seen.view.add(job("a"))

    await seen.pods(pod_of("a", ended(143)))
    first = seen["a"].finding
    evicted = [condition("DisruptionTarget", "EvictionByEvictionAPI")]
    await seen.pods(pod_of("a", ended(143), conditions=evicted))
    then = seen["a"].finding
    await seen.pods(pod_of("a", ended(143)), change="DELETED")

    assert first is not None
    assert then is not None
    assert (first.reason, then.reason) == (Reason.EXIT_CODE, Reason.EVICTED)
    assert seen["a"].finding is then


async def test_a_native_sidecar_decides_nothing(seen: Seen) -> None:
    seen.view.add(job("a"))
    seen.view.add(job("b"))
    states = [{"name": "proxy", "state": ended(137)}]
    sidecar = pod_of("a", initContainerStatuses=states)
    sidecar["spec"]["initContainers"] = [{"name": "proxy", "restartPolicy": "Always"}]
    once = pod_of("b", initContainerStatuses=states)
    once["spec"]["initContainers"] = [{"name": "proxy"}]

    await seen.pods(sidecar, once)

    assert seen["a"].finding is None
    found = seen["b"].finding
    assert found is not None
    assert found.reason is Reason.EXIT_CODE


async def test_a_pod_that_ends_because_its_job_is_suspended_is_no_finding(
    server: ServerStub, seen: Seen
) -> None:
    await server.tell("jobs", ("ADDED", job("a", version=1)))
    await seen.pods(pod_of("a"))
    await server.tell("jobs", ("MODIFIED", job("a", version=2, suspend=True)))
    await seen.pods(pod_of("a", deleting=True), pod_of("a", ended(143), deleting=True))
    assert seen["a"].finding is None

    await server.tell("jobs", ("MODIFIED", job("a", version=3)))
    await seen.pods(pod_of("a", ended(143), deleting=True))
    assert seen["a"].finding is None

    new = pod_of("a", ended(2))
    new["metadata"]["uid"] = "another"
    await seen.pods(new)
    assert seen["a"].finding is not None


async def test_of_a_job_that_is_over_and_done_with_no_details_are_kept(
    server: ServerStub, seen: Seen
) -> None:
    seen.view.add(job("a", "Failed"))
    await seen.pods(pod_of("a", ended(2)))
    assert seen["a"].pods

    seen["a"].expire()
    await seen.pods(pod_of("a", ended(2)))
    await server.tell("jobs", ("MODIFIED", job("a", "Failed", ttlSecondsAfterFinished=60)))

    known = seen["a"]
    assert (known.pods, known.finding, known.finished) == ({}, None, True)
    assert "at length" not in str(known.body)
    assert seen.view.in_flight() == 0


# ── watching ─────────────────────────────────────────────────────────────────────────────────

TOO_OLD = KubeError("watch", "/jobs", 410, "Expired", "too old resource version")


@pytest.mark.parametrize("ending", [None, TOO_OLD])
async def test_a_watch_that_ends_at_once_is_not_begun_anew_at_once(
    server: ServerStub, seen: Seen, ending: KubeError | None
) -> None:
    before = server.watches
    for _ in range(50):
        server._news["jobs"].put_nowait(ending)
    await asyncio.sleep(0.3)

    assert server.watches == before


async def test_an_object_that_nobody_expects_does_not_end_the_watch(
    server: ServerStub, seen: Seen
) -> None:
    odd: Json = {"metadata": {"resourceVersion": "9", "ownerReferences": 7}}
    await server.tell("pods", ("ADDED", odd))
    before = server.watches

    async with asyncio.timeout(10):
        while server.watches == before:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    seen.view.add(job("a"))
    await seen.pods(pod_of("a", ended(2)))

    assert seen["a"].finding is not None


async def test_pauses_grow_until_something_arrives(
    server: ServerStub, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    away = KubeError("watch", "/jobs", 0, "", "gone")

    await server.tell("jobs", away, TOO_OLD, away, ("ADDED", job(str(uuid4()))), away)
    while len(pauses) < 4:
        await sleep(0.01)

    assert pauses == [0.5, 1.0, 2.0, 0.5]
