"""Shows where a worker's time goes while it drains."""

from __future__ import annotations

import cProfile
import io
import pstats
import resource
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from benchmarks.app import registry
from benchmarks.ours import connected
from benchmarks.support.contestants import ready
from benchmarks.support.databases import Kind
from benchmarks.support.filling import due, fill
from benchmarks.support.run import Run
from server_jobs.worker import LocalWorker, WorkerConfig

_LINES = 45


def profile(run: Run, kind: Kind) -> str:
    """Drain without and with the profiler → CPU time by thread, functions by their own time."""
    jobs = run.size(20_000)
    with (
        run.databases.empty(kind) as database,
        ready("benchmarks.profiling:drain", url=database.url) as (worker,),
    ):
        said = []
        for order in ("warm up", "threads", "functions"):
            run.steps.next(order)
            database.clear()
            fill(database, jobs, due())
            said.append(worker.run(order))
    return f"{database.title}, {jobs:,} jobs\n{said[1]}\n{said[2]}"


def drain(url: str) -> Generator[str | None, str, None]:
    """Drain in a contestant's process, and report where the time went."""
    with connected(url) as (database, runner):
        order = yield None
        while True:
            worker = LocalWorker(
                database=database, job_registry=registry, config=WorkerConfig(drain=True)
            )
            # The loop's thread only: Python 3.12 and later profile one thread at a time.
            profiler = cProfile.Profile()
            before, began = _cpu_by_thread(), time.perf_counter()
            if order == "functions":
                profiler.enable()
            try:
                totals = runner.run(worker.run_until_stopped())
            finally:
                profiler.disable()
            elapsed = time.perf_counter() - began
            if order == "functions":
                order = yield _functions(profiler)
            else:
                order = yield _threads(before, elapsed, totals.completed)


def _threads(before: dict[str, float], elapsed: float, jobs: int) -> str:
    lines = [f"{elapsed:.2f} s, {jobs / elapsed:,.0f} jobs/s; CPU time by thread:"]
    for name, seconds in _cpu_by_thread().items():
        used = seconds - before.get(name, 0.0)
        if used > 0:
            lines.append(f"  {used:6.2f} s  {used / jobs * 1e6:6.1f} µs a job  {name}")
    return "\n".join(lines)


def _cpu_by_thread() -> dict[str, float]:
    """Read the CPU seconds of each live thread on Linux; elsewhere those of the whole process."""
    if sys.platform != "linux":
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {"all threads": usage.ru_utime + usage.ru_stime}
    used = {}
    for thread in threading.enumerate():
        text = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
        used[thread.name] = int(text.split()[0]) / 1e9
    return used


def _functions(profiler: cProfile.Profile) -> str:
    written = io.StringIO()
    statistics: Any = pstats.Stats(profiler, stream=written)
    statistics.strip_dirs().sort_stats("tottime").print_stats(_LINES)
    return written.getvalue()
