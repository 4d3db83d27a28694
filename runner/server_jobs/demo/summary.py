"""Prints the demo's end: the figures, the report, and whether the promises hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from server_jobs.demo.checks import Check
from server_jobs.demo.crew import Worker
from server_jobs.demo.figures import Figures, Spread
from server_jobs.demo.jobs import Report

_SHOWN_FILES = 3


class Summary:
    """Prints the sections of the demo's end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._good, self._bad = ("ok", "NOT") if console.options.ascii_only else ("✓", "✗")

    def figures(self, figures: Figures, workers: Sequence[Worker]) -> None:
        """Print the figures."""
        rows = {
            "throughput": f"{figures.completed:,} jobs in {figures.seconds:.1f} s:"
            f" {figures.per_second:,.0f} jobs/s, with {len(workers)} worker processes in all",
            "attempts": f"{figures.claims:,} claims, {figures.failed_attempts:,} failed attempts,"
            f" {figures.rescued:,} lost with a worker and rescued",
            "time in queue": _spread(figures.waited) + " (all were enqueued at once)",
            "time to run": _spread(figures.ran),
            "slowest": figures.slowest_module or "none",
            "who did it": ", ".join(
                f"worker {worker.number}: {count:,}"
                for worker in workers
                if (count := _completed_by(worker, figures.by_worker))
            ),
        }
        self._section("Measured, from the rows", rows)

    def report(self, report: Report) -> None:
        """Print the result of the job GatherStatistics."""
        longest = report.longest_function
        rows = {
            "modules": f"{report.modules:,}, with {report.lines:,} lines, {report.functions:,}"
            f" functions, {report.classes:,} classes, {report.comment_lines:,} lines of comment",
            "biggest": f"{report.biggest_module}, {report.biggest_module_lines:,} lines",
            "longest function": "none"
            if longest is None
            else f"{longest.name} in {longest.path}, {longest.lines:,} lines",
            "most imported": ", ".join(f"{name} {n:,}" for name, n in report.most_imported),
        }
        if report.unparsable:
            rows["no valid Python"] = _some(report.unparsable)
        if report.without_result:
            rows["no result"] = _some(report.without_result)
        self._section("Python's standard library, by the job GatherStatistics", rows)

    def checks(self, checks: Sequence[Check]) -> None:
        """Print which promises hold, and what contradicts the others."""
        self._console.print("\n[bold]Promised[/]")
        for check in checks:
            mark = Text(self._good, "green") if check.holds else Text(self._bad, "bold red")
            self._console.print(Text("  ") + mark + Text(f" {check.promise}"), soft_wrap=True)
            for objection in check.objections[:_SHOWN_OBJECTIONS]:
                self._console.print(Text(f"      {objection}", "red"), soft_wrap=True)
            if (more := len(check.objections) - _SHOWN_OBJECTIONS) > 0:
                self._console.print(Text(f"      and {more:,} more", "red"))

    def _section(self, title: str, rows: Mapping[str, str]) -> None:
        self._console.print(f"\n[bold]{title}[/]")
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows.items():
            table.add_row(f"  {name}", Text(value))
        self._console.print(table)


_SHOWN_OBJECTIONS = 5


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "not measured"
    return (
        f"half within {_seconds(spread.median)}, 95 % within {_seconds(spread.p95)}, the longest"
        f" {_seconds(spread.longest)}"
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_FILES
    return ", ".join(names[:_SHOWN_FILES]) + (f" and {more:,} more" if more > 0 else "")


def _completed_by(worker: Worker, by_worker: Mapping[str, int]) -> int:
    return sum(count for worker_id, count in by_worker.items() if worker.is_called(worker_id))
