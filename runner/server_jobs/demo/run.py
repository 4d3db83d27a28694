"""Runs ``server-jobs demo``, from an empty database to an exit status."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from server_jobs import JobStatus, connect
from server_jobs.database import DATABASE_URL_VARIABLE, Database, parse_url
from server_jobs.demo.checks import Evidence, check
from server_jobs.demo.crew import Crew, Worker
from server_jobs.demo.figures import figures_of
from server_jobs.demo.jobs import gather_statistics, registry
from server_jobs.demo.modules import LIBRARY, find_modules
from server_jobs.demo.scenario import Cast, Facts, Scenario, enqueue
from server_jobs.demo.snapshot import SnapshotReader
from server_jobs.demo.story import News
from server_jobs.demo.summary import Summary
from server_jobs.demo.view import LiveView, PlainView, View
from server_jobs.errors import ServerJobsError
from server_jobs.migrate import migrate
from server_jobs.records.ids import random_suffix

SUCCESS, FAILURE, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True, slots=True)
class Played:
    """Describes a run that is over. Its own queue's name is also its jobs' correlation id."""

    queue: str
    cast: Cast
    facts: Facts
    workers: list[Worker]


def run_demo(
    *,
    files: int | None = None,
    database: str | None = None,
    keep: bool = False,
    interactive: bool | None = None,
) -> int:
    """Run real jobs and show them → the exit status: 0 if every promise was kept, else 1.

    ``files`` is how many modules of the standard library to read; by default all. ``database`` is
    a URL, by default of a SQLite file that is removed afterwards unless ``keep`` is set.
    ``interactive`` chooses a live view; by default it depends on the terminal. After Ctrl-C the
    exit status is 130. Raises ServerJobsError if the demo can't begin.
    """
    console = Console(file=sys.stdout)
    live = _is_interactive(console) if interactive is None else interactive
    with _folder(keep=keep) as folder:
        url = database or f"sqlite:///{folder / 'demo.db'}"
        view = LiveView(console) if live else PlainView(console)
        try:
            played, promises_kept = asyncio.run(_run(url, files, folder, view, console))
        except (KeyboardInterrupt, asyncio.CancelledError):
            console.print("\nInterrupted; the workers are stopped.")
            return INTERRUPTED
        _say_what_next(console, url, played, kept=keep or database is not None)
    return SUCCESS if promises_kept else FAILURE


async def _run(
    url: str, files: int | None, folder: Path, view: View, console: Console
) -> tuple[Played, bool]:
    with _interrupted_by_signals():
        modules = find_modules(files)
        if not modules:
            raise ServerJobsError(f"there are no modules to read in {LIBRARY}")
        migrate(url)
        database = connect(url)
        try:
            registry.bind(database)
            played = await _play(database, url, modules, folder, view)
            return played, await _sum_up(database, played, console)
        finally:
            await database.close()


async def _play(
    database: Database, url: str, modules: list[str], folder: Path, view: View
) -> Played:
    # With a queue of its own, the demo disturbs no other jobs of the database, and other workers
    # don't take its jobs.
    queue = f"demo-{random_suffix()}"
    cast = await enqueue(queue, modules)
    reader = SnapshotReader(database, queue, cast.special)
    async with Crew(url, queue, folder) as crew:
        with view:
            view.tell(
                News(
                    f"{len(cast.all):,} jobs enqueued: {len(cast.modules):,} modules of Python"
                    f" {platform.python_version()}, {len(cast.special)} special ones"
                )
            )
            facts = await Scenario(cast, reader, crew, view).play()
    return Played(queue, cast, facts, crew.workers)


async def _sum_up(database: Database, played: Played, console: Console) -> bool:
    records = await SnapshotReader(database, played.queue, ()).everything()
    by_id = {record.id: record for record in records}
    summary = Summary(console)
    summary.figures(figures_of(records), played.workers)
    report = by_id.get(played.cast.report)
    if report is not None and report.status is JobStatus.COMPLETED:
        summary.report((await gather_statistics.wait(report.id)).data)
    checks = check(Evidence(played.cast, played.facts, by_id, played.workers))
    summary.checks(checks)
    return all(check.holds for check in checks)


def _say_what_next(console: Console, url: str, played: Played, *, kept: bool) -> None:
    lines = ["Look around in the rows: server-jobs demo --keep"]
    if kept:
        shown = parse_url(url).shown
        lines = [
            "Look around:",
            f"  export {DATABASE_URL_VARIABLE}='{shown}'",
            f"  server-jobs list --queue {played.queue}",
            f"  server-jobs show {played.cast.primes}   # the killed one",
        ]
    console.print("\n" + "\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _is_interactive(console: Console) -> bool:
    return sys.stdout.isatty() and not console.is_dumb_terminal and os.environ.get("CI") != "true"


@contextlib.contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """Make the folder of the database and the workers' logs."""
    folder = Path(tempfile.mkdtemp(prefix="server-jobs-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Make SIGTERM (``kill``) and SIGHUP (a closed terminal) clean up as Ctrl-C does."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    interrupt = task.cancel if task else loop.stop
    added = []
    for name in ("SIGTERM", "SIGHUP"):
        # Only the main thread may set handlers, and not on every platform.
        with contextlib.suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(getattr(signal, name), interrupt)
            added.append(getattr(signal, name))
    try:
        yield
    finally:
        for number in added:
            loop.remove_signal_handler(number)
