"""One run of the benchmarks: on what, how big, how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.support.databases import Databases, Kind
from benchmarks.support.progress import Steps
from benchmarks.support.report import Figure


@dataclass(frozen=True)
class Run:
    """``scale`` is the part of the full sizes, ``rounds`` how often each thing is measured."""

    databases: Databases
    kinds: Sequence[Kind]
    steps: Steps
    scale: float = 1.0
    rounds: int = 5

    def size(self, full: int, least: int = 20) -> int:
        """How many instead of so many."""
        return max(round(full * self.scale), least)

    def seconds(self, full: float) -> float:
        """How long instead of so long."""
        return max(full * self.scale, 0.2)


Benchmark: TypeAlias = Callable[[Run], Iterator[Figure]]
