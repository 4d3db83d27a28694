"""Finds which rows of a group did harm, by halves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.hostile.places import Kind
from tests.hostile.rows import HostileRow
from tests.hostile.trial import run_trial


@dataclass
class Findings:
    """What became of many rows."""

    tried: int = 0
    refused: int = 0
    harmful: dict[str, list[str]] = field(default_factory=dict)
    """The complaints by row, or by the rows that do harm together."""


def try_all(
    kind: Kind, rows: Sequence[HostileRow], *, group: int, shown: int | None = None
) -> Findings:
    """Try rows in groups → what became of each. A failed group is taken apart."""
    found = Findings()
    for first in range(0, len(rows), group):
        _try(kind, rows[first : first + group], found, shown, counts=True)
    return found


def _try(
    kind: Kind,
    rows: Sequence[HostileRow],
    found: Findings,
    shown: int | None,
    *,
    counts: bool = False,
) -> bool:
    """Return whether they did no harm."""
    report = run_trial(kind, rows, shown=shown, whole=len(rows) == 1)
    if counts:
        found.tried += len(rows)
        found.refused += len(report.refused)
    if not report.complaints:
        return True
    refused = {row.number for row in report.refused}
    left = [row for row in rows if row.number not in refused]
    if len(left) == 1:
        found.harmful[str(left[0])] = report.complaints
        return False
    middle = len(left) // 2
    halves = [_try(kind, half, found, shown) for half in (left[:middle], left[middle:]) if half]
    if all(halves) and run_trial(kind, left, shown=shown).complaints:
        # Not by chance, and no half alone.
        found.harmful[f"{left[0]} … {left[-1]} together"] = report.complaints
    return False
