"""Writes figures beside their limits and targets: as a table, as Markdown, as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.support.machine import Machine
from benchmarks.support.measure import Samples

Unit = Literal["/s", "/min", "ms", "% of a core", "MB", "modules", "queries", "calls"]

HEADINGS = ("what", "database", "server-jobs", "raw limit", "ratio", "target", "reached")


@dataclass(frozen=True)
class Reference:
    """Another measurement with which a figure is compared."""

    name: str
    samples: Samples


@dataclass(frozen=True)
class Target:
    """Says what a figure, or its ratio to the raw limit or to its reference, is to reach."""

    at: Literal["least", "most"]
    limit: float
    of: Literal["figure", "raw", "reference"]

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.at == "least" else value <= self.limit


@dataclass(frozen=True)
class Figure:
    """One line of the report: a figure, beside the raw limit measured in the same run."""

    what: str
    database: str
    unit: Unit
    ours: Samples
    raw: Samples | None = None
    reference: Reference | None = None
    target: Target | None = None
    note: str = ""

    @property
    def to_raw(self) -> float | None:
        """The ratio to the raw limit."""
        return _ratio(self.ours, self.raw)

    @property
    def to_reference(self) -> float | None:
        """The ratio to the reference."""
        return _ratio(self.ours, self.reference.samples if self.reference else None)

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None if there is no target."""
        if self.target is None:
            return None
        judged = {
            "figure": self.ours.median,
            "raw": self.to_raw,
            "reference": self.to_reference,
        }[self.target.of]
        return None if judged is None else self.target.holds(judged)

    @property
    def cells(self) -> tuple[str, ...]:
        """Write the line's texts, in the order of the headings."""
        ratios = []
        if self.to_raw is not None:
            ratios.append(f"{self.to_raw:.2f}")
        if self.reference is not None:
            ratios.append(f"{self.to_reference:.2f} × {self.reference.name}")
        return (
            self.what + (f"; {self.note}" if self.note else ""),
            self.database,
            amount(self.ours, self.unit),
            "" if self.raw is None else amount(self.raw, self.unit),
            ", ".join(ratios),
            self._target_text(),
            {True: "yes", False: "NO", None: ""}[self.reached],
        )

    def _target_text(self) -> str:
        if self.target is None:
            return ""
        sign = "≥" if self.target.at == "least" else "≤"
        match self.target.of:
            case "raw":
                return f"{sign} {self.target.limit:g} × raw"
            case "reference":
                name = self.reference.name if self.reference else ""
                return f"{sign} {self.target.limit:g} × {name}"
            case "figure":
                return f"{sign} {self.target.limit:g} {self.unit}"


def amount(samples: Samples, unit: Unit) -> str:
    """Write the median with its unit, and the spread if there is one."""
    value = samples.median
    text = f"{value:,.0f}" if value >= 100 or unit == "modules" else f"{value:.3g}"
    spread = f" ±{samples.spread:.0%}" if len(samples.values) > 1 else ""
    return f"{text}{'' if unit.startswith('/') else ' '}{unit}{spread}"


def print_table(
    figures: Sequence[Figure], machine: Machine, settings: Sequence[str], headings: Sequence[str]
) -> None:
    """Print the table on a terminal."""
    # In a pipe, lines aren't wrapped.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    for line in [*machine.lines, *settings]:
        console.print(escape(line), style="dim")
    table = Table(pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in headings[2:4] else "left")
    last = None
    for figure in figures:
        if last is not None and figure.database != last:
            table.add_section()
        last = figure.database
        style = {True: "green", False: "red", None: ""}[figure.reached]
        *cells, reached = (escape(cell) for cell in figure.cells)
        table.add_row(*cells, f"[{style}]{reached}[/]" if style else reached)
    console.print(table)


def markdown(
    figures: Iterable[Figure], machine: Machine, settings: Sequence[str], headings: Sequence[str]
) -> str:
    """Write the machine, the settings and the table as Markdown, for a page."""
    alignment = ["--:" if heading in headings[2:4] else "---" for heading in headings]
    lines = [*(f"- {line}" for line in [*machine.lines, *settings]), ""]
    for cells in (headings, alignment, *(figure.cells for figure in figures)):
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def document(
    figures: Iterable[Figure], machine: Machine, settings: Sequence[str]
) -> dict[str, Any]:
    """Make a JSON document of every sample and what was computed from them, for programs."""
    return {
        "machine": asdict(machine),
        "settings": list(settings),
        "figures": [
            asdict(figure)
            | {
                "median": figure.ours.median,
                "to_raw": figure.to_raw,
                "to_reference": figure.to_reference,
                "reached": figure.reached,
            }
            for figure in figures
        ],
    }


def _ratio(ours: Samples, other: Samples | None) -> float | None:
    return None if other is None or not other.median else ours.median / other.median
