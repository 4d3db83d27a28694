"""Measures whether a drain stays as fast when the table has many other rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.support.contestants import Contestant, ready
from benchmarks.support.databases import BenchDatabase, Kind
from benchmarks.support.filling import MIXED_PRIORITIES, due, fill, finished, not_due, steps
from benchmarks.support.measure import Samples, alternate
from benchmarks.support.report import Figure, Reference, Target
from benchmarks.support.run import Run

UNSERVED = "unserved"


def measure(run: Run) -> Iterator[Figure]:
    for kind in run.kinds:
        with run.databases.empty(kind) as empty, run.databases.empty(kind) as full:
            yield from _figures(run, kind, empty, full)


def _figures(run: Run, kind: Kind, empty: BenchDatabase, full: BenchDatabase) -> Iterator[Figure]:
    jobs, ended, waiting = run.size(10_000), run.size(1_000_000), run.size(200_000)
    half = waiting // 2

    def add_ended() -> None:
        fill(full, ended, finished(full), run.steps.next)

    def add_waiting() -> None:
        fill(full, half, not_due(full), run.steps.next)
        fill(full, half, due(UNSERVED, MIXED_PRIORITIES), run.steps.next)

    def let_come_due() -> None:
        run.steps.next("an UPDATE")
        full.run(
            f"UPDATE jobs SET ready = true, scheduled_for = {full.moment('-60')}"
            " WHERE status = 'pending' AND NOT ready"
        )
        full.settle()

    scenes: list[tuple[str, Callable[[], None], int]] = [
        (f"{ended:,} finished jobs", add_ended, steps(ended)),
        (
            f"those and {waiting:,} not due or in an unserved queue",
            add_waiting,
            2 * steps(half),
        ),
        (f"those, the {waiting:,} due", let_come_due, 1),
    ]
    with (
        ready("benchmarks.ours:drain", url=empty.url) as (alone,),
        ready("benchmarks.ours:drain", "benchmarks.raw:drain", url=full.url) as (beside, raw),
    ):
        for what, prepare, count in scenes:
            run.steps.stage(f"{full.title}: making {what}", count)
            prepare()
            rounds = min(run.rounds, 3)
            run.steps.stage(
                f"{full.title}: drain beside {what}", 3 * (rounds + (prepare is add_ended))
            )
            rates = alternate(
                {
                    "the empty table": lambda: _drain_empty(empty, jobs, alone),
                    "beside": lambda: _drain(full, jobs, beside),
                    "raw": lambda: _drain(full, jobs, raw, commits=1),
                },
                rounds,
                warm_up=prepare is add_ended,
                step=run.steps.next,
            )
            yield _figure(what, full, rates)


def _drain_empty(database: BenchDatabase, jobs: int, worker: Contestant) -> float:
    database.clear()
    return _drain(database, jobs, worker)


def _drain(database: BenchDatabase, jobs: int, worker: Contestant, **order: int) -> float:
    """Add ``jobs`` jobs among the others, and drain until so many are done → jobs a second."""
    fill(database, jobs, due(priority=MIXED_PRIORITIES))
    return worker.span({"limit": jobs, **order}).rate


def _figure(what: str, database: BenchDatabase, rates: dict[str, Samples]) -> Figure:
    return Figure(
        f"drain beside {what}",
        database.title,
        "/s",
        rates["beside"],
        raw=rates["raw"],
        reference=Reference("the empty table", rates["the empty table"]),
        target=Target("least", 0.9, of="reference"),
    )
