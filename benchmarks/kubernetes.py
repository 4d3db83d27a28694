"""Measures the operator on a control plane without a node: Jobs are created, but no pod runs.

It needs root and Linux, as tests/cluster does, so it is measured only if it is named.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from uuid6 import uuid7

from benchmarks.app import noop, params
from benchmarks.support.contestants import ROOT, Span, ready
from benchmarks.support.machine import resident_megabytes
from benchmarks.support.measure import Samples, one
from benchmarks.support.report import Figure, Target
from benchmarks.support.run import Run
from server_jobs import connect
from server_jobs_operator.cluster.kube import connected
from server_jobs_operator.cluster.names import jobs_path
from server_jobs_operator.launches.manifest import job_manifest
from server_jobs_operator.launches.sample import SAMPLE_LAUNCH
from server_jobs_operator.resources.runner_table import JobRunner
from server_jobs_operator.resources.specs import JobRunnerSpec
from server_jobs_operator.settings import OperatorSettings
from tests.cluster import programs
from tests.cluster.layout import Layout
from tests.e2e.support.operator_process import OperatorProcess

PORT = 16470
CONCURRENCY = 20
MOST_KNOWN = 5_000

_NAMESPACE = "default"
_PATIENCE_SECONDS = 300.0
_RUNNER = {
    "apiVersion": "server-jobs.dev/v1alpha1",
    "kind": "JobRunner",
    "metadata": {"name": "bench", "namespace": _NAMESPACE},
    "spec": {
        "image": "localhost/bench:1",
        "maxConcurrency": MOST_KNOWN,
        "database": {"secretRef": {"name": "database"}},
        # No node will ever come, so no launch may time out.
        "launchTimeoutSeconds": 3_600,
        "launchPatienceSeconds": 3_600,
    },
}
_OPTIONS = [
    *("--creates-per-second", "10000", "--create-concurrency", str(CONCURRENCY)),
    *("--max-jobs", str(MOST_KNOWN), "--reconcile-interval", "30", "--lease", "300"),
]


def measure(run: Run) -> Iterator[Figure]:
    """Measure launches beside bare creates, and an operator's latency, memory and idle requests."""
    if "postgresql" not in run.kinds:
        return
    jobs, singles, idle_seconds = run.size(2_000), run.size(100), run.seconds(60)
    rounds = 2
    run.steps.stage("Kubernetes: an operator on a control plane without a node", 2 * rounds + 4)
    with (
        TemporaryDirectory(prefix="sj-bench-") as folder,
        run.databases.empty("postgresql") as database,
        _control_plane(Path(folder)) as layout,
    ):
        uid = _job_runner(layout)
        operator = OperatorProcess(
            Path(folder), _NAMESPACE, database.url, kubeconfig=layout.kubeconfig
        )
        with operator.running(*_OPTIONS):
            operator.wait_until_ready()
            watch = _Log(operator, database.url)
            watch.launch(3)  # warms up what is prepared only once
            run.steps.next("idle")
            time.sleep(2)
            requests = _requests(layout, idle_seconds)
            run.steps.next("one row at a time")
            single: list[float] = []
            for _ in range(singles):
                time.sleep(0.1)
                single += watch.launch(1)[1]
            rates: list[float] = []
            bare_rates: list[float] = []
            latencies: list[float] = []
            # The client reads this when it is imported, in the other process.
            os.environ["KUBECONFIG"] = str(layout.kubeconfig)
            with ready("benchmarks.kubernetes:create", uid=uid) as (bare,):
                for _ in range(rounds):
                    run.steps.next(f"{jobs:,} records by the operator")
                    rate, found = watch.launch(jobs)
                    rates.append(rate)
                    latencies += found
                    run.steps.next(f"{jobs:,} bare creates")
                    bare_rates.append(bare.span(jobs).rate)
            run.steps.next("memory")
            known = watch.known
            if run.scale == 1:
                watch.launch(MOST_KNOWN - known)
                known = watch.known
            memory = resident_megabytes(operator.pid)
    minutes = idle_seconds / 60
    title = "PostgreSQL"
    yield Figure(
        f"launches of {jobs:,} records, {CONCURRENCY} creates at once",
        title,
        "/s",
        Samples(tuple(rates)),
        raw=Samples(tuple(bare_rates)),
        target=Target("least", 0.7, of="raw"),
        note="raw: the same Jobs, created in a loop",
    )
    for name, samples, target in (
        ("from a record to its Job, idle", Samples(tuple(single)), 300.0),
        (f"from a record to its Job, {jobs:,} at once", Samples(tuple(latencies)), None),
    ):
        for part in (0.5, 0.95):
            yield Figure(
                f"{name}, p{part * 100:g}",
                title,
                "ms",
                one(samples.quantile(part)),
                target=Target("most", target, of="figure") if target and part > 0.9 else None,
            )
    yield Figure(
        f"the operator's memory with {known:,} Jobs known",
        title,
        "MB",
        one(memory),
        target=Target("most", 150, of="figure"),
    )
    yield Figure(
        "an idle operator's API requests",
        title,
        "/min",
        one(sum(requests.values()) / minutes),
        note=", ".join(f"{n / minutes:.3g} {what}" for what, n in requests.most_common()),
    )


class _Log:
    """Enqueues jobs, and reads in the operator's log when each Kubernetes Job was created."""

    def __init__(self, operator: OperatorProcess, url: str) -> None:
        self._operator = operator
        self._url = url
        self.known = 0

    def launch(self, jobs: int) -> tuple[float, list[float]]:
        """Enqueue records → Jobs a second, and the milliseconds until each Job existed."""
        began, ids = asyncio.run(self._enqueue(jobs))
        deadline = time.monotonic() + _PATIENCE_SECONDS
        pause = 0.05 if jobs < 10 else 1.0
        while True:
            created = {
                line["job_id"]: datetime.fromisoformat(line["timestamp"]).timestamp()
                for line in self._operator.lines
                if line["event"].endswith(" created")
            }
            if ids <= created.keys():
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(ids - created.keys())} were never launched")
            time.sleep(pause)
        self.known += jobs
        moments = [created[job_id] - began for job_id in ids]
        return jobs / max(moments), [moment * 1000 for moment in moments]

    async def _enqueue(self, jobs: int) -> tuple[float, set[str]]:
        database = connect(self._url)
        noop.set_database(database)
        try:
            given = [params(n) for n in range(jobs)]
            began = time.time()
            ids = await noop.later_many(given)
            return began, set(ids)
        finally:
            await database.close()


def create(uid: str) -> Generator[tuple[int, float, float] | None, int, None]:
    """Create the Jobs that an operator would create, made beforehand, in a bare loop."""
    count = yield None
    while True:
        bodies = _manifests(uid, count)
        span = asyncio.run(_create(bodies))
        count = yield (span.count, span.began, span.ended)


async def _create(bodies: list[dict[str, Any]]) -> Span:
    left = iter(bodies)
    async with connected(lambda verb, status: None) as kube:

        async def go_on() -> None:
            for body in left:
                await kube.create(jobs_path(_NAMESPACE), body)

        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONCURRENCY):
                tasks.create_task(go_on())
        return Span(len(bodies), began, time.monotonic())


def _manifests(uid: str, count: int) -> list[dict[str, Any]]:
    spec = JobRunnerSpec.model_validate(_RUNNER["spec"])
    runner = JobRunner(_NAMESPACE, "bench", uid, 1, "", spec)
    settings = OperatorSettings(install_id="bare", own_namespace=_NAMESPACE)
    launch = replace(SAMPLE_LAUNCH, job_name=noop.name, fence=1, max_attempts=3)
    return [job_manifest(replace(launch, id=str(uuid7())), runner, settings) for _ in range(count)]


def _job_runner(layout: Layout) -> str:
    """Make the definitions and a JobRunner → its uid."""
    command = [str(programs.clients() / "kubectl"), f"--kubeconfig={layout.kubeconfig}"]

    def kubectl(*arguments: str, given: str | None = None) -> str:
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, input=given, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    kubectl("apply", "-f", "crds")
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    kubectl("apply", "-f", "-", given=json.dumps(_RUNNER))
    return kubectl("get", "jobrunner", "bench", "-o", "jsonpath={.metadata.uid}")


def _requests(layout: Layout, seconds: float) -> Counter[str]:
    """Count the requests to the API server meanwhile, without those of its own controllers."""
    before = layout.audit_log.stat().st_size
    time.sleep(seconds)
    with layout.audit_log.open() as log:
        log.seek(before)
        events = [json.loads(line) for line in log if line.endswith("\n")]
    return Counter(
        f"{event['verb']} {event.get('objectRef', {}).get('resource') or event['requestURI']}"
        for event in events
    )


@contextmanager
def _control_plane(folder: Path) -> Iterator[Layout]:
    layout = Layout(folder / "cluster", PORT)
    module = [sys.executable, "-m", "tests.cluster"]
    where = ["--port", str(PORT), "--folder", str(layout.folder)]
    subprocess.run(
        [*module, "up", "--audit", *where], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    try:
        yield layout
    finally:
        subprocess.run([*module, "down", *where], cwd=ROOT, check=True)
