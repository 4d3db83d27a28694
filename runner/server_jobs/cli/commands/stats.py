"""``stats``: figures about queues and jobs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.text import Text

from server_jobs.cli.app_loader import load_registry
from server_jobs.cli.database import existing_database, opened_store
from server_jobs.cli.durations import in_words, seconds_or_forever
from server_jobs.cli.options import DatabaseOption, JsonOption, KnownAppOption
from server_jobs.cli.output import (
    STATUS_STYLES,
    plain,
    print_json,
    print_lines,
    remark,
    terminal_width,
)
from server_jobs.cli.tables import cell, figures_by_name, fitting, table_lines
from server_jobs.monitoring.monitor import EndedJobs, LiveJobs, LiveKind, Monitor
from server_jobs.records.status import JobStatus

_ENDS = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
_GIVE_WAY = ("MEAN", "LONGEST", "CANCELLED", "P50", "FAILED %", "P95")
"""The columns that a narrow terminal leaves out, in this order."""


@dataclass(frozen=True)
class Stats:
    """The figures. ``known`` has the app's job names, or is None if no app is given."""

    live: Sequence[LiveJobs]
    ended: Sequence[EndedJobs]
    since: float | None
    known: frozenset[str] | None

    def names(self) -> list[str]:
        """Return every job name in the figures."""
        live, ended = ({jobs.job_name for jobs in part} for part in (self.live, self.ended))
        return sorted(live | ended)

    def unknown(self) -> list[str] | None:
        """Return the names that the app doesn't have, or None if no app is given."""
        if self.known is None:
            return None
        return [name for name in self.names() if name not in self.known]

    def by_queue(self) -> dict[str, dict[LiveKind, int]]:
        """Return how many live jobs of each kind each queue has."""
        return self._counts("queue")

    def by_name(self) -> dict[str, dict[LiveKind, int]]:
        """Return how many live jobs of each kind each name has."""
        return self._counts("job_name")

    def oldest_due(self, queue: str) -> float | None:
        """Return for how long the oldest due job of a queue has been due, or None if none is."""
        ages = [
            jobs.seconds for jobs in self.live if (jobs.queue, jobs.kind) == (queue, LiveKind.DUE)
        ]
        return max(ages, default=None)

    def _counts(self, field: str) -> dict[str, dict[LiveKind, int]]:
        counts: dict[str, dict[LiveKind, int]] = defaultdict(lambda: dict.fromkeys(LiveKind, 0))
        for jobs in self.live:
            counts[getattr(jobs, field)][jobs.kind] += jobs.count
        return dict(sorted(counts.items()))


def stats(
    database: DatabaseOption = None,
    app: KnownAppOption = None,
    *,
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="DURATION",
            help="Of the jobs that have ended, count only those that were enqueued within this"
            " time."
            " forever reads the whole table.",
        ),
    ] = "1d",
    queue: Annotated[
        list[str] | None, typer.Option("--queue", help="Only jobs of this queue. May be repeated.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Only jobs of this name. May be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how many jobs wait and run, and how the rest ended.

    server-jobs stats
    server-jobs stats --since 1h --queue mail
    server-jobs stats --json | jq '.queues[] | select(.oldest_due_seconds > 60)'

    Pending and running jobs are counted, whatever their age. MEAN, P50, P95 and
    LONGEST are the times of handlers that completed. FAILED % is the part that
    failed of the jobs that completed or failed. With an app, job names that it
    doesn't have are pointed out. A narrow terminal shows fewer columns.
    """
    within = seconds_or_forever(since, "--since")
    known = frozenset(load_registry(app).get_names()) if app else None

    async def run() -> Stats:
        async with opened_store(existing_database(database)) as store:
            monitor = Monitor(store.database)
            live = [
                jobs
                for jobs in await monitor.live()
                if (not queue or jobs.queue in queue) and (not name or jobs.job_name in name)
            ]
            ended = await monitor.ended(within, queues=queue or (), job_names=name or ())
            return Stats(live, ended, within, known)

    figures = asyncio.run(run())
    if as_json:
        print_json(stats_document(figures))
        return
    print_lines(_lines(figures, terminal_width()))
    if figures.unknown() is None:
        remark("without --app, stats can't tell whether jobs have a name that no app has")


def stats_document(figures: Stats) -> dict[str, Any]:
    """Return the figures as JSON, with times in seconds. Null means that nothing was measured."""
    return {
        "since_seconds": figures.since,
        "queues": [
            {
                "queue": queue,
                **{kind.value: count for kind, count in counts.items()},
                "oldest_due_seconds": _rounded(figures.oldest_due(queue)),
            }
            for queue, counts in figures.by_queue().items()
        ],
        "live": [
            {
                "job_name": name,
                "unknown": None if figures.known is None else name not in figures.known,
                **{kind.value: count for kind, count in counts.items()},
            }
            for name, counts in figures.by_name().items()
        ],
        "ended": [
            {
                "job_name": jobs.job_name,
                "status": jobs.status.value,
                "count": jobs.count,
                "mean_seconds": _rounded(jobs.mean),
                "p50_seconds": _rounded(jobs.p50),
                "p95_seconds": _rounded(jobs.p95),
                "longest_seconds": _rounded(jobs.longest),
            }
            for jobs in figures.ended
        ],
        "failure_rate": {name: _rounded(rate) for name, rate in _failure_rates(figures).items()},
        "unknown_job_names": figures.unknown(),
    }


def _lines(figures: Stats, width: int | None) -> Iterator[Text]:
    if not figures.names():
        yield plain("no jobs" + _window(figures.since))
        return
    yield from _queue_lines(figures, width)
    yield Text()
    yield from _job_lines(figures, width)
    unknown = figures.unknown()
    if unknown:
        yield Text()
        yield plain(f"Names that the app doesn't have: {', '.join(unknown)}", "yellow")


def _queue_lines(figures: Stats, width: int | None) -> Iterator[Text]:
    heading = ("QUEUE", "DUE", "LATER", "RUNNING", "EXPIRED", "OLDEST DUE")
    rows = []
    for queue, counts in figures.by_queue().items():
        oldest = figures.oldest_due(queue)
        expired = counts[LiveKind.EXPIRED]
        rows.append(
            (
                cell(queue),
                cell(f"{counts[LiveKind.DUE]:,}"),
                cell(f"{counts[LiveKind.LATER]:,}"),
                cell(f"{counts[LiveKind.RUNNING]:,}"),
                cell(f"{expired:,}", "red" if expired else ""),
                cell("" if oldest is None else in_words(oldest)),
            )
        )
    if rows:
        columns = fitting(figures_by_name(heading, rows), width, ("LATER", "EXPIRED"))
        yield from table_lines(columns, width)
    else:
        yield plain("nothing is pending or running")


def _job_lines(figures: Stats, width: int | None) -> Iterator[Text]:
    yield plain("Pending and running, and how the rest ended" + _window(figures.since), "dim")
    ended = {(jobs.job_name, jobs.status): jobs for jobs in figures.ended}
    live, rates = figures.by_name(), _failure_rates(figures)
    rows = []
    for name in figures.names():
        of = live.get(name, {})
        counts = {
            JobStatus.PENDING: of.get(LiveKind.DUE, 0) + of.get(LiveKind.LATER, 0),
            JobStatus.RUNNING: of.get(LiveKind.RUNNING, 0) + of.get(LiveKind.EXPIRED, 0),
            **{s: ended[name, s].count if (name, s) in ended else 0 for s in _ENDS},
        }
        rate = rates.get(name)
        done = ended.get((name, JobStatus.COMPLETED))
        times = (done.mean, done.p50, done.p95, done.longest) if done else (None,) * 4
        rows.append(
            (
                cell(name),
                *(cell(f"{n:,}", STATUS_STYLES[s] if n else "") for s, n in counts.items()),
                cell("" if rate is None else f"{100 * rate:.1f}"),
                *(cell("" if time is None else in_words(time)) for time in times),
            )
        )
    heading = ("JOB", *(status.upper() for status in JobStatus), "FAILED %")
    columns = figures_by_name((*heading, "MEAN", "P50", "P95", "LONGEST"), rows)
    yield from table_lines(fitting(columns, width, _GIVE_WAY), width)


def _failure_rates(figures: Stats) -> dict[str, float | None]:
    """Return by name which part of the jobs that completed or failed has failed."""
    counts: dict[str, dict[JobStatus, int]] = defaultdict(dict)
    for jobs in figures.ended:
        counts[jobs.job_name][jobs.status] = jobs.count
    rates: dict[str, float | None] = {}
    for name, of in counts.items():
        failed = of.get(JobStatus.FAILED, 0)
        tried = failed + of.get(JobStatus.COMPLETED, 0)
        rates[name] = failed / tried if tried else None
    return rates


def _window(since: float | None) -> str:
    return "" if since is None else f", of those enqueued in the last {in_words(since)}"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
