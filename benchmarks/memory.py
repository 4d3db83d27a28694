"""Measures the memory of a worker's process after many jobs."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.support.contestants import ready
from benchmarks.support.filling import due, fill
from benchmarks.support.machine import resident_megabytes
from benchmarks.support.measure import one
from benchmarks.support.report import Figure, Reference
from benchmarks.support.run import Run


def measure(run: Run) -> Iterator[Figure]:
    first, rest = run.size(10_000), run.size(90_000)
    for kind in run.kinds:
        with run.databases.empty(kind) as database:
            title = f"{database.title}: memory after {first + rest:,} jobs"
            run.steps.stage(title, 2)
            with ready("benchmarks.ours:drain", url=database.url) as (worker,):
                held = []
                for jobs in (first, rest):
                    run.steps.next(f"{jobs:,} jobs")
                    fill(database, jobs, due())
                    worker.span({})
                    held.append(resident_megabytes(worker.pid))
        yield Figure(
            f"a worker's memory after {first + rest:,} jobs",
            database.title,
            "MB",
            one(held[1]),
            reference=Reference(f"after {first:,}", one(held[0])),
        )
