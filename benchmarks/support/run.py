"""Describes one run of the benchmarks: on which databases, how big, how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.support.databases import Databases, Kind
from benchmarks.support.progress import Steps
from benchmarks.support.report import Figure


@dataclass(frozen=True)
class Run:
    """``scale`` is the share of the full sizes, and ``rounds`` how often each thing is measured."""

    databases: Databases
    kinds: Sequence[Kind]
    steps: Steps
    scale: float = 1.0
    rounds: int = 5

    def size(self, full: int, least: int = 20) -> int:
        """Scale a number of jobs; the result is at least ``least``."""
        return max(round(full * self.scale), least)

    def seconds(self, full: float) -> float:
        """Scale a duration in seconds."""
        return max(full * self.scale, 0.2)


Benchmark: TypeAlias = Callable[[Run], Iterator[Figure]]
