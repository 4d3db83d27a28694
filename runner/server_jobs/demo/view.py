"""Shows the run: by a panel that is redrawn on a terminal, by plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TypeAlias

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from server_jobs import JobRecord, JobStatus
from server_jobs.demo.crew import Worker
from server_jobs.demo.snapshot import Snapshot
from server_jobs.demo.story import News, short_name

STYLES = {
    JobStatus.PENDING: "dim",
    JobStatus.RUNNING: "cyan",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "yellow",
}

_BAR_WIDTH = 12
_STATE_WIDTH = len("killed (SIGKILL)")
_STATUS_WIDTH = max(map(len, JobStatus))
_SHOWN_WORKERS = 4
_LINE_SECONDS = 1.0


class Pace:
    """Measures how fast jobs have been ending in the last ``seconds``."""

    def __init__(self, seconds: float = 2.0) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, int]] = deque()

    def per_second(self, ended: int, now: float) -> float:
        """Note how many jobs have ended by now → jobs per second lately."""
        self._seen.append((now, ended))
        while len(self._seen) > 2 and now - self._seen[1][0] >= self._seconds:
            self._seen.popleft()
        then, ended_then = self._seen[0]
        return (ended - ended_then) / (now - then) if now > then else 0.0


class PlainView:
    """Prints a line for each piece of news, and once a second a line with the counts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._pace = Pace()
        self._shown_at = self._began

    def __enter__(self) -> PlainView:
        self._began = self._shown_at = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is no panel to remove."""

    def tell(self, news: News) -> None:
        """Print the news."""
        self._print(news.text)

    def show(self, snapshot: Snapshot, workers: Sequence[Worker]) -> None:
        """Print how many jobs have which status, at most once a second."""
        now = time.monotonic()
        pace = self._pace.per_second(snapshot.ended, now)
        if now - self._shown_at >= _LINE_SECONDS:
            self._shown_at = now
            counts = ", ".join(f"{n:,} {status}" for status, n in _counts(snapshot))
            self._print(f"{snapshot.ended:,} of {snapshot.total:,} ({counts}; {pace:,.0f} jobs/s)")

    def _print(self, text: str) -> None:
        self._console.print(
            f"{time.monotonic() - self._began:6.1f} s  {text}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


class LiveView:
    """Prints news as they come, above a panel that shows the current state."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._pace = Pace()
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> LiveView:
        self._began = time.monotonic()
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def tell(self, news: News) -> None:
        """Print the news above the panel."""
        line = Table.grid(padding=(0, 1))
        line.add_column(style="dim", justify="right", width=8)
        line.add_column(overflow="fold")
        line.add_row(f"{time.monotonic() - self._began:.1f} s", Text(news.text, news.tone.value))
        self._console.print(line)

    def show(self, snapshot: Snapshot, workers: Sequence[Worker]) -> None:
        """Redraw the panel."""
        now = time.monotonic()
        pace = self._pace.per_second(snapshot.ended, now)
        parts: list[RenderableType] = [
            "",
            _overall(snapshot, pace, now - self._began),
            "",
            _workers(snapshot, workers),
            "",
            _special(snapshot.special),
        ]
        self._live.update(Group(*parts), refresh=True)


View: TypeAlias = PlainView | LiveView


def _overall(snapshot: Snapshot, pace: float, seconds: float) -> RenderableType:
    line = Table.grid(padding=(0, 2), expand=True)
    line.add_column(ratio=1)
    for _ in range(3):
        line.add_column(justify="right", no_wrap=True)
    line.add_row(
        ProgressBar(total=max(snapshot.total, 1), completed=snapshot.ended),
        f"[bold]{snapshot.ended:,}[/] of {snapshot.total:,}",
        f"{pace:,.0f} jobs/s",
        f"{seconds:.0f} s",
    )
    counts = Text("  ").join(
        Text(f"{n:,} {status}", STYLES[status]) for status, n in _counts(snapshot)
    )
    return Group(line, counts)


def _workers(snapshot: Snapshot, workers: Sequence[Worker]) -> RenderableType:
    table = _table("worker", "pid", "state", "holds", "completed")
    table.columns[2].min_width = _STATE_WIDTH
    for column in table.columns[3:]:
        column.justify = "right"
    for worker in workers[-_SHOWN_WORKERS:]:
        holds = snapshot.of_process(worker.pid, JobStatus.RUNNING)
        completed = snapshot.of_process(worker.pid, JobStatus.COMPLETED)
        table.add_row(
            f"worker {worker.number}",
            str(worker.pid),
            _state_of(worker, busy=holds + completed > 0),
            f"{holds:,}",
            f"{completed:,}",
        )
    return table


def _state_of(worker: Worker, *, busy: bool) -> str:
    if worker.was_killed:
        return "[red]killed (SIGKILL)[/]"
    if not worker.alive:
        return f"[red]ended with status {worker.process.returncode}[/]"
    return "[green]at work[/]" if busy else "[dim]starting[/]"


def _special(records: Sequence[JobRecord]) -> RenderableType:
    table = _table("job", "status", "attempt", "progress", "")
    # As wide as the widest status, so that the table doesn't jump.
    table.columns[1].min_width = _STATUS_WIDTH
    # On a narrow terminal, only this column is cut.
    table.columns[-1].no_wrap = False
    for record in records:
        table.add_row(
            short_name(record),
            f"[{STYLES[record.status]}]{record.status}[/]",
            f"{record.attempt_count} of {record.max_attempts}",
            ProgressBar(total=100, completed=record.progress, width=_BAR_WIDTH),
            Text(_remark(record), "dim", no_wrap=True, overflow="ellipsis"),
        )
    return table


def _remark(record: JobRecord) -> str:
    due_in = (record.scheduled_for - datetime.now(UTC)).total_seconds()
    if record.progress_message:
        return record.progress_message
    if record.status is JobStatus.PENDING and due_in > 0:
        return f"due in {due_in:.1f} s"
    return ""


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in titles:
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    return table


def _counts(snapshot: Snapshot) -> list[tuple[JobStatus, int]]:
    """Count the jobs of each status.

    The usual statuses are always there, so that the line doesn't jump.
    """
    usual = {JobStatus.PENDING, JobStatus.RUNNING, JobStatus.COMPLETED}
    counts = [(status, snapshot.counts.get(status, 0)) for status in JobStatus]
    return [(status, count) for status, count in counts if count or status in usual]
