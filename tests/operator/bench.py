"""The operator's parts on one table and one API server, without the loops that push them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from typing import Any

from prometheus_client import generate_latest

from server_jobs.launches.store import LaunchStore
from server_jobs.records.rows import JobRecord
from server_jobs_operator.cluster.names import QUEUE, RUNNER, jobs_path, pods_path
from server_jobs_operator.launches.attendant import Attendant
from server_jobs_operator.launches.launcher import Launcher
from server_jobs_operator.launches.reconciler import Reconciler
from server_jobs_operator.resources.runner_table import JobRunner
from server_jobs_operator.settings import OperatorSettings
from server_jobs_operator.telemetry.health import Health
from server_jobs_operator.telemetry.metrics import Metrics
from server_jobs_operator.term import Term
from tests.operator.fake_kube import FakeKube
from tests.support.scene import new_job


class Bench:
    """Pushes the parts and says how things stand."""

    def __init__(self, kube: FakeKube, launches: LaunchStore, settings: OperatorSettings) -> None:
        self.kube = kube
        self.launches = launches
        self.settings = settings
        self.metrics = Metrics()
        self.term = Term.begin(kube, launches, settings, self.metrics, Health())
        self.table = self.term.runners
        self.events = self.term.events
        self.view = self.term.view
        self.launcher = Launcher(self.term)
        self.attendant = Attendant(self.term)
        self.view.subscribe(self.attendant.notice)
        self.reconciler = Reconciler(self.term, self.launcher, self.attendant)
        self._tasks: list[asyncio.Task[None]] = []

    def with_settings(self, **changes: Any) -> Bench:
        """Another bench on the same server and table, with settings of its own."""
        return Bench(self.kube, self.launches, replace(self.settings, **changes))

    def serve(self, *runners: JobRunner) -> None:
        for runner in runners:
            self.table.put(runner)

    def start(self, *work: Any) -> None:
        """Let loops run until the end of the test."""
        self._tasks += [asyncio.ensure_future(one) for one in work]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    # ── what happens ─────────────────────────────────────────────────────────────────────────

    async def enqueue(self, count: int = 1, **fields: Any) -> list[str]:
        jobs = [new_job("SendEmail", **fields) for _ in range(count)]
        await self.launches.records.enqueue(jobs)
        return [job.id for job in jobs]

    async def launch(self) -> int:
        """Claim once, and wait until what was claimed is created or given back."""
        for namespace in self.term.namespaces:
            if namespace is not None and not self.view.knows(namespace):
                await self.view.relist(namespace)
        claimed = await self.launcher.claim()
        await self.launcher.finish(10)
        return claimed

    async def rounds(self, count: int) -> None:
        """So often: launch, and let everything end."""
        for _ in range(count):
            await self.launch()
            for job in self.jobs:
                await self.job_ends(job)
            await self.view.relist("jobs")

    async def pod_runs(self, job: dict[str, Any], name: str = "a-pod") -> str:
        """The Job's pod is there → its uid."""
        pod = {
            "metadata": {
                "name": name,
                "labels": job["metadata"]["labels"],
                "ownerReferences": [{"kind": "Job", "uid": job["metadata"]["uid"]}],
            },
            "status": {"phase": "Running"},
        }
        created = await self.kube.create(pods_path("jobs"), pod)
        return str(created["metadata"]["uid"])

    async def job_ends(self, job: dict[str, Any], how: str = "Complete") -> None:
        """The Job is over."""
        condition = {"type": how, "status": "True", "reason": "", "message": ""}
        await self.kube.change(
            jobs_path("jobs", job["metadata"]["name"]),
            lambda seen: seen.update(status={"conditions": [condition]}),
        )

    # ── how things stand ─────────────────────────────────────────────────────────────────────

    @property
    def jobs(self) -> list[dict[str, Any]]:
        return self.kube.all("jobs")

    def by_queue(self) -> Counter[str]:
        return Counter(job["metadata"]["labels"][QUEUE] for job in self.jobs)

    def by_runner(self) -> Counter[str]:
        return Counter(job["metadata"]["labels"][RUNNER] for job in self.jobs)

    async def record(self, job_id: str) -> JobRecord:
        return await self.launches.records.get(job_id)

    async def settle_events(self) -> list[tuple[str, str]]:
        """What Events say, once all are written."""
        await asyncio.sleep(0.05)
        return self.kube.events()

    def figure(self, name: str) -> float | None:
        """A figure as Prometheus reads it: ``name{label="value"}``; None if there is none."""
        for line in generate_latest(self.metrics.registry).decode().splitlines():
            if line.rpartition(" ")[0] == name:
                return float(line.rpartition(" ")[2])
        return None

    def reasons(self) -> dict[str, float]:
        """How often launches went wrong, by reason; those that did."""
        found = {}
        for metric in self.metrics.reasons.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total") and sample.value:
                    found[sample.labels["reason"]] = sample.value
        return found
