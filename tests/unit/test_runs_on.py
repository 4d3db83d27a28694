"""``runs_on``: a job that is kept to one backend, and what the others do with it."""

from typing import Any

import pytest

from server_jobs import JobStatus, PodRuntime, create_job_registry, define_job
from server_jobs.errors import InvalidJobDefinitionError
from server_jobs.launches.runner import Runner, RunnerConfig
from server_jobs.memory import InMemoryBackend
from server_jobs.records.requests import ClaimRequest
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


async def test_pod_gives_back_what_runs_elsewhere_and_says_why() -> None:
    registry = create_job_registry().register(define_job(runs_on="edge")(work))
    memory = InMemoryBackend(job_registry=registry)
    await memory.initialize()
    registry.bind(memory.database)
    job_id = await registry.get("work").later({})
    (job,) = await memory.store.claim(ClaimRequest("default", None, 1, "k8s", 60, starting=False))

    await Runner(
        memory.database,
        job.claim,
        load_registry=lambda: registry,
        config=RunnerConfig(worker_id="pod"),
    ).run()

    record = await registry.get("work").get(job_id)
    assert (record.status, record.launch_failures) == (JobStatus.PENDING, 1)
    (error,) = record.attempt_errors
    assert error.type == "runs_elsewhere"
    assert "a queue that no JobRunner serves" in error.message
    await memory.shutdown()
