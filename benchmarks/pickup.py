"""Measures how soon an idle worker begins a job, and its CPU time while it is idle."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.support.contestants import Contestant, ready
from benchmarks.support.databases import Databases, Kind
from benchmarks.support.measure import Samples, one
from benchmarks.support.report import Figure, Target
from benchmarks.support.run import Run

P95_MS = {"sqlite": 25.0, "postgresql": 5.0}
IDLE_PERCENT = 2.0

_PATIENCE_SECONDS = 30.0
_SIDES = {"server-jobs": "benchmarks.ours:serve", "raw": "benchmarks.raw:serve"}


def latency(run: Run) -> Iterator[Figure]:
    """Measure from the commit of an enqueue in one process to the handler's start in another."""
    for kind in run.kinds:
        jobs, rounds = run.size(75, least=30), (run.rounds + 2) // 3
        found = dict.fromkeys(_SIDES, Samples(()))
        title = run.databases.title(kind)
        run.steps.stage(f"{title}: pickup of a job by an idle worker", rounds * len(_SIDES))
        for _ in range(rounds):
            for side, function in _SIDES.items():
                run.steps.next(side)
                found[side] += _pickups(run.databases, kind, function, jobs)
        for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            yield Figure(
                f"pickup by an idle worker, {name}",
                title,
                "ms",
                one(found["server-jobs"].quantile(part)),
                raw=one(found["raw"].quantile(part)),
                target=Target("most", P95_MS[kind], of="figure") if name == "p95" else None,
                note=f"{len(found['raw'].values)} jobs" if name == "p50" else "",
            )


def idle(run: Run) -> Iterator[Figure]:
    """Measure the CPU time of an idle worker's process."""
    seconds = run.seconds(10)
    for kind in run.kinds:
        title = run.databases.title(kind)
        run.steps.stage(f"{title}: {seconds:g} s of idleness", 1)
        with (
            run.databases.empty(kind) as database,
            ready(*_SIDES.values(), url=database.url) as (ours, raw),
        ):
            time.sleep(min(1.0, seconds))  # until they have done what they do only once
            run.steps.next()
            before = [ours.run(), raw.run()]
            time.sleep(seconds)
            after = [ours.run(), raw.run()]
        ours_percent, raw_percent = (
            100 * (end["cpu"] - start["cpu"]) / (end["at"] - start["at"])
            for start, end in zip(before, after, strict=True)
        )
        yield Figure(
            "an idle worker's CPU",
            title,
            "% of a core",
            one(ours_percent),
            raw=one(raw_percent),
            target=Target("most", IDLE_PERCENT, of="figure"),
        )


def _pickups(databases: Databases, kind: Kind, function: str, jobs: int) -> Samples:
    with (
        databases.empty(kind) as database,
        ready("benchmarks.ours:enqueue_now_and_then", function, url=database.url) as (
            caller,
            worker,
        ),
    ):
        _begun(worker, caller.run(3))  # warms up what is prepared only once
        commits = caller.run(jobs)
        begun = _begun(worker, commits)
    return Samples(tuple((begun[job] - moment) * 1000 for job, moment in commits.items()))


def _begun(worker: Contestant, commits: dict[str, float]) -> dict[str, float]:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        begun: dict[str, float] = worker.run()["begun"]
        if commits.keys() <= begun.keys():
            return begun
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(commits.keys() - begun.keys())} jobs were never picked up")
        time.sleep(0.05)
