"""Measures all systems on one kind of database in one run, in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from benchmarks.peers import measures
from benchmarks.peers.system import System, Worker
from benchmarks.support.databases import Databases
from benchmarks.support.measure import Samples, alternate
from benchmarks.support.progress import Steps

# How many jobs one drain has. Slow systems get fewer, since only rates are compared.
JOBS = {"server-jobs": 20_000, "PgQueuer": 20_000, "Procrastinate": 1_000, "Huey": 5_000}


@dataclass(frozen=True)
class Effort:
    """Says how much is measured.

    ``choosing`` rounds find each system's best settings, and ``rounds`` others compare those. If
    the rounds that chose also counted, the luckiest settings would look the fastest.
    """

    choosing: int
    rounds: int
    part: float
    enqueued_alone: int
    pickups: int

    def jobs(self, system: System) -> int:
        return int(JOBS[system.name] * self.part)


FULL = Effort(choosing=3, rounds=7, part=1.0, enqueued_alone=1_000, pickups=60)
QUICK = Effort(choosing=1, rounds=2, part=0.25, enqueued_alone=200, pickups=20)


@dataclass(frozen=True)
class Result:
    """Holds one system's results: in jobs a second, and for the pickup in milliseconds."""

    name: str
    version: str
    database: str
    sweep: dict[str, Samples]
    """The drains by settings; the first settings are the worker's defaults."""
    durable: tuple[str, ...]
    """The settings with which a commit survives a power cut."""
    best: str
    """The durable settings that were fastest in the sweep."""
    drained: Samples
    """The drains with the best settings, in separate rounds that all systems share."""
    enqueued: Samples
    enqueued_many: Samples | None
    pickup: Samples


def compare(
    systems: Sequence[System], databases: Databases, effort: Effort, steps: Steps
) -> list[Result]:
    """Drain with each worker of each system, in turns, so that disturbances affect all of them."""
    many: dict[str, list[float]] = {system.name: [] for system in systems}

    def drain(system: System, worker: Worker) -> float:
        found = measures.drain(system, worker, databases, effort.jobs(system))
        many[system.name].append(found.enqueued)
        return found.drained

    contestants: dict[str, Callable[[], float]] = {
        f"{system.name}, {worker.settings}": partial(drain, system, worker)
        for system in systems
        for worker in system.workers
    }
    database = systems[0].kind
    steps.stage(f"{database}: drain, every setting", effort.choosing * len(contestants))
    sweep = alternate(contestants, effort.choosing, warm_up=False, step=steps.next)
    best = {system.name: _fastest(system, sweep) for system in systems}

    steps.stage(f"{database}: drain, each at its best", effort.rounds * len(systems))
    drained = alternate(
        {system.name: partial(drain, system, best[system.name]) for system in systems},
        effort.rounds,
        warm_up=False,
        step=steps.next,
    )

    steps.stage(f"{database}: enqueue one by one", effort.rounds * len(systems))
    enqueued = alternate(
        {
            system.name: partial(measures.enqueue, system, databases, effort.enqueued_alone)
            for system in systems
        },
        effort.rounds,
        warm_up=False,
        step=steps.next,
    )

    steps.stage(f"{database}: pickup by an idle worker", len(systems))
    results = []
    for system in systems:
        steps.next(system.name)
        results.append(
            Result(
                name=system.name,
                version=version(system.distribution),
                database=database,
                sweep={
                    worker.settings: sweep[f"{system.name}, {worker.settings}"]
                    for worker in system.workers
                },
                durable=tuple(worker.settings for worker in system.workers if worker.durable),
                best=best[system.name].settings,
                drained=drained[system.name],
                enqueued=enqueued[system.name],
                enqueued_many=Samples(tuple(many[system.name])) if system.has_bulk else None,
                pickup=measures.pickup(system, system.workers[0], databases, effort.pickups),
            )
        )
    return results


def _fastest(system: System, sweep: Mapping[str, Samples]) -> Worker:
    durable = [worker for worker in system.workers if worker.durable]
    return max(durable, key=lambda worker: sweep[f"{system.name}, {worker.settings}"].median)
