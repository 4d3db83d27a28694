"""Measures how fast jobs are enqueued, and what reading their params back costs of that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.app import Params, noop, params
from benchmarks.support.contestants import Contestant, ready
from benchmarks.support.databases import Kind
from benchmarks.support.measure import alternate
from benchmarks.support.report import Figure, Reference, Target
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


def params_read_back(run: Run) -> Iterator[Figure]:
    """Measure params made JSON, read back and compared, beside those that are made JSON only."""
    codec, count = noop.definition.params, run.size(20_000)
    values = [codec.validate(params(n)) for n in range(count)]

    def rate(write: Callable[[Params], object]) -> float:
        began = time.perf_counter()
        for value in values:
            write(value)
        return count / (time.perf_counter() - began)

    run.steps.stage("params, made JSON and read back", 2 * (run.rounds + 1))
    ways = {
        "read back": lambda: rate(lambda value: codec.dump(value, max_bytes=1_000)),
        "written": lambda: rate(lambda value: value.model_dump_json(round_trip=True)),
    }
    rates = alternate(ways, run.rounds, step=run.steps.next)
    yield Figure(
        "params made JSON, read back and compared",
        "none",
        "/s",
        rates["read back"],
        reference=Reference("model_dump_json", rates["written"]),
    )
