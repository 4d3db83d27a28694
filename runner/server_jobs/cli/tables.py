"""Figures in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.text import Text


def aligned(heading: Sequence[str], rows: Sequence[Sequence[Text]]) -> Iterator[Text]:
    """A heading and rows: the first column to the left, the figures after it to the right."""
    table = [[Text(name, style="bold") for name in heading], *rows]
    widths = [max(cell_len(row[i].plain) for row in table) for i in range(len(heading))]
    for row in table:
        line = Text()
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (width - cell.cell_len)
            line.append_text(cell).append(padding) if number == 0 else line.append(
                padding
            ).append_text(cell)
            line.append("  ")
        line.rstrip()
        yield line
