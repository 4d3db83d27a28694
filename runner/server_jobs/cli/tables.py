"""Columns that fit the terminal. Callers say which may be cut, and which may be left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.cells import set_cell_size
from rich.table import Table
from rich.text import Text

from server_jobs.cli.output import console, plain
from server_jobs.cli.streams import spelled

_GAP = 2
_UNBOUNDED = 1_000_000
_WIDEST = 200
"""Without a terminal, longer cells push the rest of their line aside, and no other line."""


@dataclass(frozen=True)
class Column:
    """A heading, and a cell for each row. A cell has one style."""

    heading: str
    cells: Sequence[Text]
    least: int | None = None
    """The least width at which cut cells are still readable. None: the cells are never cut."""
    figures: bool = False

    @cached_property
    def natural(self) -> int:
        """The width at which nothing is cut."""
        return max([len(self.heading), *(content.cell_len for content in self.cells)])


Step = str | Column
"""A heading leaves its column out. A column replaces the column with the same heading."""


def cell(value: object, style: str = "") -> Text:
    """Return a cell of one line. If it doesn't fit, it is cut and ends with an ellipsis."""
    text = plain(" ".join(str(value).split()), style)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def figures_by_name(
    headings: Sequence[str], rows: Sequence[Sequence[Text]], *, least: int = 12
) -> list[Column]:
    """Return the columns of rows that consist of a name, which may be cut, and figures."""
    cells = zip(*rows, strict=True) if rows else [()] * len(headings)
    names, *figures = zip(headings, cells, strict=True)
    return [Column(*names, least=least), *(Column(*column, figures=True) for column in figures)]


def fitting(columns: Sequence[Column], width: int | None, steps: Iterable[Step]) -> list[Column]:
    """Return the columns after as many steps as they need to fit. A width of None fits all."""
    fit = list(columns)
    for step in steps:
        if width is None or _least_width(fit) <= width:
            break
        if isinstance(step, str):
            fit = [column for column in fit if column.heading != step]
        else:
            fit = [step if column.heading == step.heading else column for column in fit]
    return fit


def table_lines(columns: Sequence[Column], width: int | None) -> Iterator[Text]:
    """Return the headings and a line for each row, none wider than the width."""
    headings = [Text(column.heading, "bold") for column in columns]
    rows = zip(*(column.cells for column in columns), strict=True)
    widths = _widths(columns, width)
    # rich's own tables take twenty times as long: seconds for a list of thousands of jobs.
    for row in (headings, *rows):
        line = Text()
        for column, content, room in zip(columns, row, widths, strict=True):
            shown = content if width is None else cut(content, room)
            padding = " " * (room - shown.cell_len)
            line.append_text(Text.assemble(padding, shown) if column.figures else shown)
            line.append(" " * _GAP if column.figures else padding + " " * _GAP)
        line.rstrip()
        yield line


def _widths(columns: Sequence[Column], width: int | None) -> list[int]:
    """Return the width of each column. The widest ones give way first."""
    natural = [column.natural for column in columns]
    if width is None:
        return [min(each, _WIDEST) for each in natural]
    room = max(len(columns), width - _GAP * (len(columns) - 1))
    least = [min(column.natural, column.least or column.natural) for column in columns]
    if sum(least) > room:
        least = [1] * len(columns)  # it can't be helped: all are cut
    bound = min(max(natural, default=0), room)
    while True:
        widths = [max(low, min(bound, high)) for low, high in zip(least, natural, strict=True)]
        spare = room - sum(widths)
        if spare >= 0:
            break
        bound -= 1
    for number, high in enumerate(natural):
        if spare and widths[number] == bound < high:
            widths[number] += 1
            spare -= 1
    return widths


def cut(content: Text, width: int) -> Text:
    """Return a text that fits. If it was cut, it ends with an ellipsis."""
    if content.cell_len <= width:
        return content
    ellipsis = spelled("…")
    kept = set_cell_size(content.plain, max(0, width - len(ellipsis)))
    return Text((kept + ellipsis)[:width], content.style)


def labelled_lines(
    rows: Iterable[tuple[Text, ...]], width: int | None, *, gap: int
) -> Iterator[Text]:
    """Return the lines of rows whose last cell is a text, which is wrapped in its column."""
    table = Table.grid(padding=(0, gap, 0, 0))
    for row in rows:
        table.add_row(*row)
    for column in table.columns:
        column.no_wrap = column is not table.columns[-1]
        column.overflow = "fold"  # a word that is longer than its column is shown whole
    return _lines(table, width)


def _least_width(columns: Sequence[Column]) -> int:
    widths = (min(column.natural, column.least or column.natural) for column in columns)
    return sum(widths) + _GAP * (len(columns) - 1)


def _lines(table: Table, width: int | None) -> Iterator[Text]:
    out = console()
    options = out.options.update(width=width or _UNBOUNDED)
    for segments in out.render_lines(table, options, pad=False):
        line = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
        line.rstrip()
        yield line
