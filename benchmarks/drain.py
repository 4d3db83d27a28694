"""How fast workers execute jobs that do nothing: one worker, and two."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from benchmarks.raw import CLAIM
from benchmarks.support.contestants import Contestant, together
from benchmarks.support.databases import BenchDatabase, Kind
from benchmarks.support.filling import due, fill
from benchmarks.support.measure import Samples, alternate
from benchmarks.support.report import Figure, Reference, Target
from benchmarks.support.run import Run
from server_jobs.worker import WorkerConfig

DEFAULT_CONCURRENCY = WorkerConfig().concurrency
CONCURRENCIES = (50, 100, 200)
"""What is tried beside the default; the fastest is reported."""

ONE_WORKER = {"sqlite": 0.3, "postgresql": 0.5}
TWO_WORKERS = {"postgresql": 1.4}


def measure(run: Run) -> Iterator[Figure]:
    for kind in run.kinds:
        with run.databases.empty(kind) as database:
            yield from _figures(run, database, kind)


def _figures(run: Run, database: BenchDatabase, kind: Kind) -> Iterator[Figure]:
    jobs = run.size(20_000)
    best = _best_concurrency(run, database, jobs)
    with ExitStack() as stack:

        def start(function: str, **arguments: object) -> Contestant:
            contestant = Contestant(function, url=database.url, **arguments)
            return stack.enter_context(contestant)

        default = [start("benchmarks.ours:drain") for _ in range(2)]
        tuned = [start("benchmarks.ours:drain", concurrency=best) for _ in range(2)]
        forms = {
            name: [start("benchmarks.raw:drain", fused=fused) for _ in range(2)]
            for name, fused in (("two commits a batch", False), ("one commit a batch", True))
        }
        teams = {
            ours: team[:size]
            for size in (1, 2)
            for ours, team in (
                (f"{size} × default", default),
                (f"{size} × tuned", tuned),
                *((f"{size} × raw, {name}", team) for name, team in forms.items()),
            )
        }
        run.steps.stage(f"{database.title}: drain of {jobs:,} jobs", len(teams) * (run.rounds + 1))
        rates = alternate(
            {name: _draining(database, jobs, team) for name, team in teams.items()},
            run.rounds,
            step=run.steps.next,
        )

    form, raw = max(
        ((name, rates[f"1 × raw, {name}"]) for name in forms), key=lambda each: each[1].median
    )
    note = f"raw: claim {CLAIM} and complete, {form}"
    for configuration, concurrency in (("default", DEFAULT_CONCURRENCY), ("tuned", best)):
        shown = f"concurrency {concurrency}" + (" = default" if configuration == "default" else "")
        one, two = rates[f"1 × {configuration}"], rates[f"2 × {configuration}"]
        yield Figure(
            f"drain, one worker, {shown}",
            database.title,
            "/s",
            one,
            raw=raw,
            target=Target("least", ONE_WORKER[kind], of="raw"),
            note=note,
        )
        yield Figure(
            f"drain, two workers, {shown}",
            database.title,
            "/s",
            two,
            raw=_faster(rates[f"2 × raw, {name}"] for name in forms),
            reference=Reference("one worker", one),
            target=Target("least", TWO_WORKERS[kind], of="reference")
            if kind in TWO_WORKERS
            else None,
        )


def _best_concurrency(run: Run, database: BenchDatabase, jobs: int) -> int:
    run.steps.stage(f"{database.title}: looking for the best concurrency", len(CONCURRENCIES) * 2)
    rates: dict[int, float] = {}
    for concurrency in CONCURRENCIES:
        with Contestant(
            "benchmarks.ours:drain", url=database.url, concurrency=concurrency
        ) as worker:
            for _ in range(2):  # the first warms it up
                run.steps.next(str(concurrency))
                rates[concurrency] = _draining(database, jobs, [worker])()
    return max(rates, key=rates.__getitem__)


def _draining(
    database: BenchDatabase, jobs: int, team: Sequence[Contestant]
) -> Callable[[], float]:
    def drain() -> float:
        database.clear()
        fill(database, jobs, due())
        span = together(team)
        if span.count != jobs:
            raise RuntimeError(f"{span.count} of {jobs} jobs were completed")
        return span.rate

    return drain


def _faster(rates: Iterator[Samples]) -> Samples:
    return max(rates, key=lambda samples: samples.median)
