"""Measures how fast jobs are enqueued, one by one and many at once."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.support.contestants import Contestant, ready
from benchmarks.support.databases import Kind
from benchmarks.support.measure import alternate
from benchmarks.support.report import Figure, Target
from benchmarks.support.run import Run


def measure(run: Run) -> Iterator[Figure]:
    for kind in run.kinds:
        one_by_one = run.size(1_500)
        yield _compare(
            run,
            kind,
            "later, one by one",
            ("benchmarks.ours:later", "benchmarks.raw:insert"),
            one_by_one,
            0.6,
        )
        many = run.size(10_000)
        ways = ("benchmarks.ours:later_many", "benchmarks.raw:insert_many")
        yield _compare(run, kind, f"later_many of {many:,}", ways, many, 0.4)


def _compare(
    run: Run, kind: Kind, what: str, ways: tuple[str, str], count: int, at_least: float
) -> Figure:
    with run.databases.empty(kind) as database:

        def rate(contestant: Contestant) -> float:
            database.clear()
            return contestant.span().rate

        run.steps.stage(f"{database.title}: {what}", 2 * (run.rounds + 1))
        with ready(*ways, url=database.url, count=count) as (ours, raw):
            rates = alternate(
                {"server-jobs": lambda: rate(ours), "raw": lambda: rate(raw)},
                run.rounds,
                step=run.steps.next,
            )
    return Figure(
        what,
        database.title,
        "/s",
        rates["server-jobs"],
        raw=rates["raw"],
        target=Target("least", at_least, of="raw"),
    )
