"""``python -m benchmarks.sizing`` measures a job's size on disk, with different fill factors.

docs/operations.md has these figures. Sizes hardly depend on the machine; the seconds do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import typer

from benchmarks.app import noop, params, registry
from benchmarks.support.databases import BenchDatabase, Databases, Kind, throw_away
from benchmarks.support.machine import describe, disk_folder
from server_jobs import connect
from server_jobs.store.retention import Keep, walk
from server_jobs.store.store import Store
from server_jobs.worker import LocalWorker, WorkerConfig

FILL_FACTORS = (100, 70, 50)

HEADINGS = (
    "database",
    "pending",
    "completed",
    "with all dead rows",
    "after pruning",
    "written to the log",
    "in-place updates",
    "drained",
)


@dataclass
class Sizes:
    """Holds the bytes per job: of the table with its indexes at four moments, and of the log."""

    title: str
    pending: float = 0
    dead: float = 0
    completed: float = 0
    pruned: float = 0
    log: float | None = None
    hot: float | None = None
    per_second: float = 0

    @property
    def cells(self) -> Iterator[str]:
        yield self.title
        for size in (self.pending, self.completed, self.dead, self.pruned, self.log):
            yield "" if size is None else f"{size:,.0f} B"
        yield "" if self.hot is None else f"{self.hot:.0%}"
        yield f"{self.per_second:,.0f}/s"


def main(jobs: int = 50_000) -> None:
    """Enqueue jobs that do nothing, drain and prune them, and measure the size meanwhile."""
    with throw_away(disk_folder(), postgres=True) as databases:
        plans: list[tuple[Kind, int | None]] = [("sqlite", None)]
        plans += [("postgresql", factor) for factor in FILL_FACTORS]
        found = [asyncio.run(_measure(databases, kind, factor, jobs)) for kind, factor in plans]
        for line in describe(databases.folder, databases.server_url).lines:
            print(line)
    rows = [HEADINGS, ["---"] * len(HEADINGS), *(list(sizes.cells) for sizes in found)]
    for row in rows:
        print("| " + " | ".join(row) + " |")


async def _measure(databases: Databases, kind: Kind, factor: int | None, jobs: int) -> Sizes:
    with databases.empty(kind) as bench:
        sizes = Sizes(bench.title + (f", fillfactor {factor}" if factor else ""))
        if factor is not None:
            bench.run(f"ALTER TABLE jobs SET (fillfactor = {factor}, autovacuum_enabled = off)")
        database = connect(bench.url)
        registry.bind(database)
        try:
            began = _log_position(bench)
            for start in range(0, jobs, 10_000):
                await noop.later_many([params(n) for n in range(start, min(start + 10_000, jobs))])
            sizes.pending = _size(bench) / jobs
            sizes.per_second = jobs / await _drain(bench.url)
            sizes.log = None if began is None else ((_log_position(bench) or 0) - began) / jobs
            sizes.hot = _hot_share(bench)
            sizes.dead = _size(bench) / jobs
            # Makes it compact, as after many rounds that used the space of dead rows again.
            bench.run("VACUUM FULL jobs" if kind == "postgresql" else "VACUUM")
            sizes.completed = _size(bench) / jobs
            await _prune(Store(database))
            bench.settle()
            sizes.pruned = _size(bench) / jobs
        finally:
            await database.close()
    return sizes


async def _prune(store: Store) -> None:
    """Prune all jobs, also those whose ids are ahead of the clock since many were made at once."""
    prunable = Keep(completed=0).prunable(await store.clock())
    async for _ in walk(store, prunable, delete=True, rest=0):
        pass


async def _drain(url: str) -> float:
    """Run with its own connections: PostgreSQL's counts are complete once they are closed."""
    config = WorkerConfig(drain=True, concurrency=50)
    database = connect(url)
    worker = LocalWorker(database=database, job_registry=registry, config=config)
    began = time.perf_counter()
    await worker.run_until_stopped()
    seconds = time.perf_counter() - began
    await database.close()
    return seconds


def _size(bench: BenchDatabase) -> int:
    if bench.kind == "sqlite":
        bench.settle()
        sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    else:
        sql = "SELECT pg_total_relation_size('jobs')"
    return int(str(bench.run(sql)[0][0]))


def _log_position(bench: BenchDatabase) -> int | None:
    if bench.kind == "sqlite":
        return None
    return int(str(bench.run("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")[0][0]))


def _hot_share(bench: BenchDatabase) -> float | None:
    if bench.kind == "sqlite":
        return None
    time.sleep(0.5)  # until the connections that were closed have gone
    sql = "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'jobs'"
    hot, updates = bench.run(sql)[0]
    return int(str(hot)) / int(str(updates))


if __name__ == "__main__":
    typer.run(main)
