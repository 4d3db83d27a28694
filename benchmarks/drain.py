"""How fast workers execute jobs that do nothing: one worker, and two."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.ours import DEFAULT_CONCURRENCY
from benchmarks.raw import CLAIM
from benchmarks.support.contestants import Contestant, ready, together
from benchmarks.support.databases import BenchDatabase, Kind
from benchmarks.support.filling import due, fill
from benchmarks.support.measure import Samples, alternate
from benchmarks.support.report import Figure, Reference, Target
from benchmarks.support.run import Run

CONCURRENCIES = (50, 100, 200)
"""What is tried beside the default; the fastest is reported."""

RAW_FORMS = {"one commit a batch": 1, "two commits a batch": 2}

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
    jobs = run.size(20_000)

    def draining(team: Sequence[Contestant], order: Mapping[str, int]) -> Callable[[], float]:
        return lambda: _drain(database, jobs, team, order)

    run.steps.stage(f"{database.title}: looking for the best concurrency", 2 * len(CONCURRENCIES))
    tried = alternate(
        {str(n): draining(ours[:1], {"concurrency": n}) for n in CONCURRENCIES},
        rounds=1,
        step=run.steps.next,
    )
    best = max(CONCURRENCIES, key=lambda concurrency: tried[str(concurrency)].median)

    teams = {}
    for workers in (1, 2):
        for concurrency in (DEFAULT_CONCURRENCY, best):
            teams[f"{workers}, concurrency {concurrency}"] = draining(
                ours[:workers], {"concurrency": concurrency}
            )
        for form, commits in RAW_FORMS.items():
            teams[f"{workers} raw, {form}"] = draining(raw[:workers], {"commits": commits})
    run.steps.stage(f"{database.title}: drain of {jobs:,} jobs", len(teams) * (run.rounds + 1))
    rates = alternate(teams, run.rounds, step=run.steps.next)

    def fastest_raw(workers: int) -> tuple[str, Samples]:
        found = {form: rates[f"{workers} raw, {form}"] for form in RAW_FORMS}
        return max(found.items(), key=lambda each: each[1].median)

    raw_form, raw_one = fastest_raw(1)
    _, raw_two = fastest_raw(2)
    for concurrency in (DEFAULT_CONCURRENCY, best):
        shown = f"concurrency {concurrency}"
        shown += ", the default" if concurrency == DEFAULT_CONCURRENCY else ", the best"
        one, two = (rates[f"{workers}, concurrency {concurrency}"] for workers in (1, 2))
        yield Figure(
            f"drain, one worker ({shown})",
            database.title,
            "/s",
            one,
            raw=raw_one,
            target=Target("least", ONE_WORKER[kind], of="raw"),
            note=f"raw: claims of {CLAIM}, {raw_form}",
        )
        yield Figure(
            f"drain, two workers ({shown})",
            database.title,
            "/s",
            two,
            raw=raw_two,
            reference=Reference("one worker", one),
            target=_target_of_two(kind),
        )


def _drain(
    database: BenchDatabase, jobs: int, team: Sequence[Contestant], order: Mapping[str, int]
) -> float:
    database.clear()
    fill(database, jobs, due())
    span = together(team, order)
    if span.count != jobs:
        raise RuntimeError(f"{span.count} of {jobs} jobs were completed")
    return span.rate


def _target_of_two(kind: Kind) -> Target | None:
    return Target("least", TWO_WORKERS[kind], of="reference") if kind in TWO_WORKERS else None
