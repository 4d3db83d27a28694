"""Measures the cost of looking for due schedules, firing them, and computing fire times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice

from croniter import croniter

from benchmarks.app import noop
from benchmarks.support.contestants import Contestant, ready
from benchmarks.support.databases import BenchDatabase, Kind
from benchmarks.support.measure import alternate
from benchmarks.support.report import Figure, Reference, Target
from benchmarks.support.run import Run
from server_jobs.schedules.cron import fire_times, parse, time_zone

MANY, DUE = 10_000, 100
EXPRESSIONS = ("*/5 * * * *", "0 9 * * 1-5", "30 2 L * *", "0 0 1 1 *")
ZONES = ("UTC", "Europe/Zurich")

_START = datetime(2027, 1, 1, tzinfo=UTC)


def ticks(run: Run) -> Iterator[Figure]:
    """Measure a tick among many schedules, beside one in a table of only the due ones."""
    for kind in run.kinds:
        yield from _ticks(run, kind)


def _ticks(run: Run, kind: Kind) -> Iterator[Figure]:
    many, due = run.size(MANY), run.size(DUE, least=5)
    title = run.databases.title(kind)
    run.steps.stage(f"{title}: ticks of a scheduler", 6 * (run.rounds + 1))
    with ExitStack() as stack:
        large, small = (stack.enter_context(run.databases.empty(kind)) for _ in range(2))
        _fill(large, many)
        _fill(small, due)
        scheduler, alone, raw = (
            stack.enter_context(ready(function, url=database.url, count=due))[0]
            for function, database in (
                ("benchmarks.ours:tick", large),
                ("benchmarks.ours:tick", small),
                ("benchmarks.raw:tick", small),
            )
        )

        def firing(contestant: Contestant, database: BenchDatabase) -> float:
            database.clear()
            _make_due(database, due)
            return milliseconds(contestant, "fire")

        def milliseconds(contestant: Contestant, order: str) -> float:
            return 1000 / contestant.span(order).rate

        rounds = 3 * run.rounds
        fired = alternate(
            {
                "many": lambda: firing(scheduler, large),
                "alone": lambda: firing(alone, small),
                "raw": lambda: firing(raw, small),
            },
            rounds,
            step=run.steps.next,
        )
        for database in (large, small):
            _make_due(database, 0)
        idle = alternate(
            {
                "many": lambda: milliseconds(scheduler, "look"),
                "alone": lambda: milliseconds(alone, "look"),
                "raw": lambda: milliseconds(raw, "look"),
            },
            rounds,
            step=run.steps.next,
        )
    yield Figure(
        f"a tick that fires {due} of {many:,} schedules",
        title,
        "ms",
        fired["many"],
        raw=fired["raw"],
        reference=Reference(f"{due} in all", fired["alone"]),
        target=Target("most", 1.5, of="reference"),
        note="raw: their jobs in one INSERT",
    )
    yield Figure(
        f"a tick where none of {many:,} schedules is due",
        title,
        "ms",
        idle["many"],
        raw=idle["raw"],
        reference=Reference(f"none of {due}", idle["alone"]),
        note="raw: the look at what is due",
    )


def cron(run: Run) -> Iterator[Figure]:
    """Measure fire times a second, beside bare croniter, which has no rule for daylight saving."""
    count = run.size(1_000)
    run.steps.stage("fire times", len(ZONES) * len(EXPRESSIONS) * 2 * (run.rounds + 1))
    for zone in ZONES:
        for expression in EXPRESSIONS:
            rates = alternate(
                {
                    "server-jobs": lambda e=expression, z=zone: _ours(e, z, count),  # type: ignore[misc]
                    "croniter": lambda e=expression, z=zone: _croniter(e, z, count),  # type: ignore[misc]
                },
                run.rounds,
                step=run.steps.next,
            )
            yield Figure(
                f"fire times of `{expression}` in {zone}",
                "none",
                "/s",
                rates["server-jobs"],
                reference=Reference("croniter", rates["croniter"]),
            )


def _ours(expression: str, zone: str, count: int) -> float:
    began = time.perf_counter()
    times = list(islice(fire_times(parse(expression), time_zone(zone), _START), count))
    return len(times) / (time.perf_counter() - began)


def _croniter(expression: str, zone: str, count: int) -> float:
    began = time.perf_counter()
    times = croniter(expression, _START.astimezone(time_zone(zone)))
    for _ in range(count):
        times.get_next(datetime)
    return count / (time.perf_counter() - began)


def _fill(database: BenchDatabase, count: int) -> None:
    columns = {
        "id": f"'00000000-0000-7000-8000-' || {database.hexadecimal('n')}",
        "name": "'schedule ' || n",
        "job_name": f"'{noop.name}'",
        "cron_expression": "'0 * * * *'",
        "params": """'{"n": 1, "text": "the quick brown fox jumps over the lazy dog"}'"""
        + database.json_cast,
        "next_run_at": database.moment("86400 + n"),
    }
    database.run(
        f"INSERT INTO cron_jobs ({', '.join(columns)})"
        f" SELECT {', '.join(columns.values())} FROM {database.series(1, count)}"
    )
    database.run("ANALYZE cron_jobs")


def _make_due(database: BenchDatabase, count: int) -> None:
    """Make the first ``count`` schedules due since a second ago, and no others."""
    last = f"00000000-0000-7000-8000-{count:012x}"
    database.run(
        f"UPDATE cron_jobs SET next_run_at = {database.moment('86400')}"
        f" WHERE next_run_at < {database.moment('86400')}"
    )
    database.run(f"UPDATE cron_jobs SET next_run_at = {database.moment('-1')} WHERE id <= '{last}'")
    database.settle()
