"""Columns that fit the terminal. rich cuts the cells; callers say which columns may be left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.table import Table
from rich.text import Text

from server_jobs.cli.output import console, plain

_GAP = 2
_UNBOUNDED = 1_000_000


@dataclass(frozen=True)
class Column:
    """A heading, and a cell for each row."""

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
    headings = [Text(column.heading, "bold", no_wrap=True) for column in columns]
    rows = list(zip(*(column.cells for column in columns), strict=True))
    whole = sum(column.natural for column in columns) + _GAP * (len(columns) - 1)
    if width is None or whole <= width:
        # For lists of thousands of jobs in a pipe, this is twenty times as fast as rich.
        return (_padded(columns, row) for row in (headings, *rows))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for column, heading in zip(columns, headings, strict=True):
        table.add_column(
            heading,
            justify="right" if column.figures else "left",
            # rich narrows the columns first that may wrap, although these cells never do.
            no_wrap=column.least is None,
        )
    for row in rows:
        table.add_row(*row)
    return _lines(table, width)


def _padded(columns: Sequence[Column], row: Sequence[Text]) -> Text:
    line = Text()
    for column, content in zip(columns, row, strict=True):
        padding = " " * (column.natural - content.cell_len)
        line.append_text(Text.assemble(padding, content) if column.figures else content)
        line.append(" " * _GAP if column.figures else padding + " " * _GAP)
    line.rstrip()
    return line


def labelled_lines(
    rows: Iterable[tuple[Text, ...]], width: int | None, *, gap: int
) -> Iterator[Text]:
    """Return the lines of rows whose last cell is a text, which is wrapped in its column."""
    table = Table.grid(padding=(0, gap, 0, 0))
    for row in rows:
        table.add_row(*row)
    for column in table.columns[:-1]:
        column.no_wrap = True
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
