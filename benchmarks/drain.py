"""Measures how fast one worker and two execute jobs that do nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from benchmarks.ours import DEFAULT_CONCURRENCY
from benchmarks.raw import CLAIM
from benchmarks.support.contestants import Contestant, ready, together
from benchmarks.support.databases import BenchDatabase, Kind
from benchmarks.support.filling import due, fill
from benchmarks.support.measure import alternate
from benchmarks.support.report import Figure, Reference, Target
from benchmarks.support.run import Run

CONCURRENCIES = (20, 100, 200)
"""The concurrencies to try beside the default; the fastest one is reported."""

RAW_FORMS = {"one commit a batch": 1, "two commits a batch": 2}

Order: TypeAlias = Mapping[str, int]

ONE_WORKER = {"sqlite": 0.3, "postgresql": 0.5}
TWO_WORKERS = {"postgresql": 1.4}


def measure(run: Run) -> Iterator[Figure]:
    for kind in run.kinds:
        with (
            run.databases.empty(kind) as database,
            ready(*2 * ["benchmarks.ours:drain"], url=database.url) as ours,
            ready(*2 * ["benchmarks.raw:drain"], url=database.url) as raw,
        ):
            yield from _figures(run, kind, database, ours, raw)


def _figures(
    run: Run,
    kind: Kind,
    database: BenchDatabase,
    ours: Sequence[Contestant],
    raw: Sequence[Contestant],
) -> Iterator[Figure]:
    best = _best(
        run, database, ours, {f"concurrency {n}": {"concurrency": n} for n in CONCURRENCIES}
    )
    raw_best = _best(run, database, raw, {form: {"commits": n} for form, n in RAW_FORMS.items()})
    default = f"concurrency {DEFAULT_CONCURRENCY}", {"concurrency": DEFAULT_CONCURRENCY}

    jobs = run.size(15_000)
    teams = {
        f"{workers} × {name}": partial(_drain, database, jobs, team[:workers], order)
        for team, (name, order) in ((ours, default), (ours, best), (raw, raw_best))
        for workers in (1, 2)
    }
    run.steps.stage(f"{database.title}: drain of {jobs:,} jobs", len(teams) * run.rounds)
    rates = alternate(teams, run.rounds, warm_up=False, step=run.steps.next)

    for (name, _), which in ((default, "the default"), (best, "the best")):
        one, two = rates[f"1 × {name}"], rates[f"2 × {name}"]
        yield Figure(
            f"drain, one worker ({name}, {which})",
            database.title,
            "/s",
            one,
            raw=rates[f"1 × {raw_best[0]}"],
            target=Target("least", ONE_WORKER[kind], of="raw"),
            note=f"raw: claims of {CLAIM}, {raw_best[0]}",
        )
        yield Figure(
            f"drain, two workers ({name}, {which})",
            database.title,
            "/s",
            two,
            raw=rates[f"2 × {raw_best[0]}"],
            reference=Reference("one worker", one),
            target=_target_of_two(kind),
        )


def _best(
    run: Run, database: BenchDatabase, team: Sequence[Contestant], orders: Mapping[str, Order]
) -> tuple[str, Order]:
    """Find the order with which a worker is fastest. Afterwards all of them are warmed up."""
    jobs = run.size(5_000)
    run.steps.stage(f"{database.title}: the best of {', '.join(orders)}", len(orders) + 1)
    run.steps.next("warming up")
    _drain(database, jobs, team, next(iter(orders.values())))
    rates = alternate(
        {name: partial(_drain, database, jobs, team[:1], order) for name, order in orders.items()},
        rounds=1,
        warm_up=False,
        step=run.steps.next,
    )
    best = max(orders, key=lambda name: rates[name].median)
    return best, orders[best]


def _drain(database: BenchDatabase, jobs: int, team: Sequence[Contestant], order: Order) -> float:
    database.clear()
    fill(database, jobs, due())
    span = together(team, order)
    if span.count != jobs:
        raise RuntimeError(f"{span.count} of {jobs} jobs were completed")
    return span.rate


def _target_of_two(kind: Kind) -> Target | None:
    return Target("least", TWO_WORKERS[kind], of="reference") if kind in TWO_WORKERS else None
