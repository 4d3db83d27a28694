"""``runs_on``: a job that is kept to one backend, and what the others do with it."""

from typing import Any

import pytest

from server_jobs import JobStatus, PodRuntime, create_job_registry, define_job
from server_jobs.errors import InvalidJobDefinitionError
from server_jobs.memory import InMemoryBackend
from server_jobs.worker import LocalWorker, WorkerConfig


async def work(params: dict[str, Any]) -> None:
    pass


@pytest.mark.parametrize("runs_on", [None, "kubernetes", "edge", "local"])
def test_backends_that_can_be_named(runs_on: Any) -> None:
    assert define_job(runs_on=runs_on)(work).definition.runs_on == runs_on


@pytest.mark.parametrize("runs_on", ["cloud", "", 1])
def test_other_names_are_refused(runs_on: Any) -> None:
    with pytest.raises(InvalidJobDefinitionError, match="'kubernetes', 'edge', 'local'"):
        define_job(runs_on=runs_on)(work)


def test_pod_outside_of_kubernetes_is_refused() -> None:
    with pytest.raises(InvalidJobDefinitionError, match="runtime= asks for a pod"):
        define_job(runs_on="edge", runtime=PodRuntime(cpu="1"))(work)


async def test_local_worker_leaves_what_runs_elsewhere() -> None:
    registry = create_job_registry()
    for name, runs_on in (("here", "local"), ("anywhere", None), ("edge", "edge")):
        registry.register(define_job(name=name, runs_on=runs_on)(work))  # type: ignore[arg-type]
    memory = InMemoryBackend(job_registry=registry)
    await memory.initialize()
    registry.bind(memory.database)
    ids = {name: await registry.get(name).later({}) for name in registry.get_names()}

    config = WorkerConfig(drain=True)
    totals = await LocalWorker(
        database=memory.database, job_registry=registry, config=config
    ).run_until_stopped()

    assert totals.completed == 2
    assert (await registry.get("edge").get(ids["edge"])).status is JobStatus.PENDING
    await memory.shutdown()
