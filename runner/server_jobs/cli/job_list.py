"""A list of jobs, one line each, that fits the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.cells import cell_len
from rich.text import Text

from server_jobs.cli.output import STATUS_STYLES, moment, percent, plain
from server_jobs.records.rows import JobRecord, JobSummary
from server_jobs.records.status import JobStatus

_GAP = 2
_LEAST = {"NOTE": 10, "QUEUE": 7, "JOB": 12}
"""Narrower than this, a column says nothing any more."""


class Listing:
    """The cells of some records, by column."""

    def __init__(self, records: Sequence[JobRecord], *, now: datetime | None = None) -> None:
        self._now = now or datetime.now(UTC)
        self._due = [record.scheduled_for for record in records]
        self._columns: dict[str, list[Text]] = {
            "ID": [plain(record.id) for record in records],
            "JOB": [plain(record.job_name) for record in records],
            "STATUS": [plain(record.status, STATUS_STYLES[record.status]) for record in records],
            "TRY": [plain(f"{record.attempt_count}/{record.max_attempts}") for record in records],
            "QUEUE": [plain(record.queue) for record in records],
            "DUE": [plain(moment(due)) for due in self._due],
            "NOTE": [plain(note_of(record)) for record in records],
        }

    def lines(self, width: int | None) -> Iterator[Text]:
        """Headings and records, none wider than that where it is 80 or more; None cuts nothing.

        Ids are there to be copied, so they stay whole. The rest gives way in this order: notes
        and queues are cut, moments shortened, notes and then queues left out, names cut.
        """
        widths = {name: self._natural(name) for name in self._columns}
        if width is not None:
            self._fit(widths, width)
        yield line_of([(Text(name, style="bold"), room) for name, room in widths.items()])
        for number in range(len(self._due)):
            yield line_of([(self._columns[name][number], room) for name, room in widths.items()])

    def _natural(self, name: str) -> int:
        return max(cell_len(name), *(cell.cell_len for cell in self._columns[name]))

    def _fit(self, widths: dict[str, int], width: int) -> None:
        def cut(name: str) -> None:
            least = min(widths[name], _LEAST[name])
            widths[name] = max(least, widths[name] - max(0, _total(widths) - width))

        cut("NOTE")
        cut("QUEUE")
        for shorter in (_to_the_minute, self._as_ps_does):
            if _total(widths) > width:
                self._columns["DUE"] = [plain(shorter(due)) for due in self._due]
                widths["DUE"] = self._natural("DUE")
        for name in ("NOTE", "QUEUE"):
            if _total(widths) > width:
                del widths[name]
        cut("JOB")
        for name in ("QUEUE", "NOTE"):
            if name in widths:
                spare = max(0, width - _total(widths))
                widths[name] = min(self._natural(name), widths[name] + spare)

    def _as_ps_does(self, due: datetime) -> str:
        due = due.astimezone(UTC)
        return f"{due:%H:%M}" if due.date() == self._now.date() else f"{due:%m-%d}"


def _to_the_minute(due: datetime) -> str:
    return f"{due.astimezone(UTC):%m-%d %H:%M}"


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def line_of(cells: list[tuple[Text, int]]) -> Text:
    """Cells side by side, each cut to its room or padded."""
    line = Text()
    for cell, room in cells:
        cell = cell.copy()
        cell.truncate(room, overflow="ellipsis", pad=True)
        line.append_text(cell).append(" " * _GAP)
    line.rstrip()
    return line


def note_of(record: JobRecord | JobSummary) -> str:
    """What to know at a glance: how far it is, or why it failed."""
    if record.status is JobStatus.RUNNING:
        text = f"{percent(record.progress)} {record.progress_message or ''}"
    elif record.error is not None and record.status is not JobStatus.COMPLETED:
        text = record.error
    else:
        text = record.progress_message or ""
    return " ".join(text.split())
