"""Watched jobs: what changed since the last look, and how it is shown."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Protocol

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from server_jobs.cli.documents import json_value
from server_jobs.cli.job_list import note_of, short_ids
from server_jobs.cli.output import STATUS_STYLES, as_json, console, on_one_line, plain, print_lines
from server_jobs.cli.tables import Column, cell, figures_by_name, fitting, table_lines
from server_jobs.monitoring.monitor import LiveJobs, LiveKind
from server_jobs.records.rows import JobSummary
from server_jobs.records.status import JobStatus

_BAR_WIDTH = 20
_SHORT_BAR_WIDTH = 8
_WIDE = 100
"""A terminal of so many columns has room for whole ids and long bars."""

_ENDINGS = 8
_LINES_BESIDE_JOBS = 8


@dataclass(frozen=True)
class Change:
    """A watched job after a look. If its record is gone, ``job`` is what was seen last."""

    job: JobSummary
    gone: bool = False

    @property
    def ended(self) -> bool:
        """Whether the job has ended, or its record is gone."""
        return self.gone or self.job.status.finished

    @property
    def word(self) -> str:
        """The job's status, or ``gone`` if its record was deleted."""
        return "gone" if self.gone else self.job.status.value


class Watched:
    """The watched jobs, as the last look found them."""

    def __init__(self) -> None:
        self._jobs: dict[str, Change] = {}

    @property
    def live(self) -> list[str]:
        """The ids of jobs that haven't ended."""
        return [job_id for job_id, change in self._jobs.items() if not change.ended]

    @property
    def running(self) -> list[JobSummary]:
        """The running jobs, in the order in which they were enqueued."""
        running = (c.job for c in self._jobs.values() if c.word == JobStatus.RUNNING)
        return sorted(running, key=lambda job: job.id)

    @property
    def all_completed(self) -> bool:
        """Whether every job has completed."""
        return all(change.word == JobStatus.COMPLETED for change in self._jobs.values())

    def counts(self) -> Counter[str]:
        """Return how many jobs have each status."""
        return Counter(change.word for change in self._jobs.values())

    def look(self, found: Iterable[JobSummary], asked: Iterable[str] = ()) -> list[Change]:
        """Take in what a look found → what changed. Jobs ``asked`` for and not found are gone."""
        changes = []
        missing = dict.fromkeys(asked)
        for job in found:
            missing.pop(job.id, None)
            before = self._jobs.get(job.id)
            self._jobs[job.id] = Change(job)
            if before is None or _shown(before.job) != _shown(job):
                changes.append(self._jobs[job.id])
        for job_id in missing:
            if job_id in self._jobs:
                self._jobs[job_id] = Change(self._jobs[job_id].job, gone=True)
                changes.append(self._jobs[job_id])
        return changes

    def forget_what_does_not_run(self) -> None:
        """Forget the jobs that don't run, so that an endless watch doesn't grow."""
        self._jobs = {job.id: Change(job) for job in self.running}


def _shown(job: JobSummary) -> tuple[object, ...]:
    return (
        job.status,
        job.progress,
        job.progress_message,
        job.attempt_count,
        job.cancel_requested_at,
    )


class View(Protocol):
    """Shows changes."""

    def __enter__(self) -> View: ...

    def __exit__(self, *raised: object) -> None: ...

    def show(
        self, watched: Watched, changes: Sequence[Change], queues: Sequence[LiveJobs] | None
    ) -> None:
        """Show what changed and how things are. ``queues`` is given if all queues are watched."""


class _Lines:
    """A view that prints a line for each change."""

    def __init__(self) -> None:
        self._told: dict[str, dict[str, int]] | None = None

    def __enter__(self) -> View:
        return self

    def __exit__(self, *raised: object) -> None:
        """Do nothing: what is printed stays."""

    def show(
        self, watched: Watched, changes: Sequence[Change], queues: Sequence[LiveJobs] | None
    ) -> None:
        """Print a line for each change, and one for the queues if their counts changed."""
        for change in changes:
            self.tell(change)
        if queues is not None and (counts := _by_queue(queues)) != self._told:
            self._told = counts
            self.tell_queues(queues)

    def tell(self, change: Change) -> None:
        raise NotImplementedError

    def tell_queues(self, queues: Sequence[LiveJobs]) -> None:
        raise NotImplementedError


class PlainView(_Lines):
    """The view for pipes and logs: time, id, name, status, and a note."""

    def tell(self, change: Change) -> None:
        job = change.job
        words = f"{_clock()}  {on_one_line(job.id)}  {job.job_name}  {change.word}  {note_of(job)}"
        print_lines([plain(words.rstrip())])

    def tell_queues(self, queues: Sequence[LiveJobs]) -> None:
        print_lines([plain(f"{_clock()}  {_in_words(queues)}")])


class JsonView(_Lines):
    """The view for programs: one JSON document a line, of a changed job or of the queues."""

    def tell(self, change: Change) -> None:
        document = {name: json_value(value) for name, value in asdict(change.job).items()}
        self._print(document | {"status": change.word})

    def tell_queues(self, queues: Sequence[LiveJobs]) -> None:
        self._print({"queues": _by_queue(queues)})

    def _print(self, document: object) -> None:
        typer.echo(as_json(document, indent=None))


class LiveView:
    """The view for terminals: a bar for each running job, counts, and the jobs that ended last."""

    def __init__(self) -> None:
        self._console = console()
        self._live = Live(console=self._console, auto_refresh=False)
        self._ends: deque[Change] = deque(maxlen=_ENDINGS)

    def __enter__(self) -> View:
        self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._live.stop()

    def show(
        self, watched: Watched, changes: Sequence[Change], queues: Sequence[LiveJobs] | None
    ) -> None:
        """Draw everything again."""
        self._ends.extend(change for change in changes if change.ended)
        parts: list[RenderableType] = []
        width = self._console.width
        parts.append(_counts(watched) if queues is None else Group(*_queue_lines(queues, width)))
        room = max(3, self._console.height - _LINES_BESIDE_JOBS - len(self._ends))
        running = watched.running
        if running:
            parts += ["", _bars(running[:room], width)]
        if len(running) > room:
            parts.append(Text(f"… and {len(running) - room:,} more", "dim"))
        if self._ends:
            parts += ["", *_end_lines(list(self._ends), width)]
        self._live.update(Group(*parts), refresh=True)


def _counts(watched: Watched) -> Text:
    counts = watched.counts()
    return Text("  ").join(
        Text(f"{count:,} {word}", STATUS_STYLES.get(JobStatus(word), "") if word != "gone" else "")
        for word, count in sorted(counts.items())
    )


def _bars(jobs: Sequence[JobSummary], width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for job, job_id in zip(jobs, _ids(jobs, width), strict=True):
        bar_width = _BAR_WIDTH if width >= _WIDE else _SHORT_BAR_WIDTH
        bar = ProgressBar(total=100, completed=job.progress, width=bar_width)
        table.add_row(cell(on_one_line(job_id), "dim"), cell(job.job_name), bar, cell(note_of(job)))
    for column in (table.columns[0], table.columns[2]):
        column.no_wrap = True  # so that rich cuts names and notes first
    return table


def _end_lines(ends: Sequence[Change], width: int) -> Iterator[Text]:
    jobs = [change.job for change in ends]
    columns = [
        Column("ID", [cell(on_one_line(job_id), "dim") for job_id in _ids(jobs, width)]),
        Column("JOB", [cell(job.job_name) for job in jobs], least=12),
        Column("STATUS", [cell(change.word, _style(change)) for change in ends]),
        Column("NOTE", [cell(note_of(job), "dim") for job in jobs], least=12),
    ]
    _, *lines = table_lines(fitting(columns, width, ("NOTE", "JOB", "STATUS")), width)
    yield from lines


def _style(change: Change) -> str:
    return "" if change.gone else STATUS_STYLES[change.job.status]


def _ids(jobs: Sequence[JobSummary], width: int) -> list[str]:
    ids = [job.id for job in jobs]
    return ids if width >= _WIDE else short_ids(ids)


def _queue_lines(queues: Sequence[LiveJobs], width: int) -> Iterator[Text]:
    if not queues:
        yield Text("nothing is pending or running", "dim")
        return
    rows = [
        (cell(queue), *(cell(f"{counts[kind]:,}") for kind in LiveKind))
        for queue, counts in _by_queue(queues).items()
    ]
    yield from table_lines(figures_by_name(("queue", *LiveKind), rows), width)


def _in_words(queues: Sequence[LiveJobs]) -> str:
    return (
        "; ".join(
            f"{queue}: " + ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
            for queue, counts in _by_queue(queues).items()
        )
        or "nothing is pending or running"
    )


def _by_queue(queues: Sequence[LiveJobs]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for jobs in sorted(queues, key=lambda jobs: jobs.queue):
        of_queue = counts.setdefault(jobs.queue, {kind.value: 0 for kind in LiveKind})
        of_queue[jobs.kind] += jobs.count
    return counts


def _clock() -> str:
    return f"{datetime.now(UTC):%H:%M:%S}"
