"""Measures several things in turns, so that disturbances affect all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Samples:
    """Holds the results of one thing that was measured several times."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance from the least to the greatest, divided by the median."""
        if not self.median:
            return 0.0
        return (max(self.values) - min(self.values)) / 2 / abs(self.median)

    def quantile(self, part: float) -> float:
        """Compute the value that this share of the samples doesn't exceed."""
        ordered = sorted(self.values)
        return ordered[min(int(part * len(ordered)), len(ordered) - 1)]

    def __add__(self, other: Samples) -> Samples:
        return Samples(self.values + other.values)


def one(value: float) -> Samples:
    """Hold a result that can be measured only once."""
    return Samples((value,))


def alternate(
    contestants: Mapping[str, Callable[[], float]],
    rounds: int,
    *,
    warm_up: bool = True,
    step: Callable[[str], object] = lambda _: None,
) -> dict[str, Samples]:
    """Measure each in turn, ``rounds`` times: A B C A B C …

    With ``warm_up``, a first round compiles, prepares and fills caches, and isn't counted. ``step``
    is called with the name of the next measurement.
    """
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(-warm_up, rounds):
        for name, run in contestants.items():
            step(name)
            value = run()
            if number >= 0:
                measured[name].append(value)
    return {name: Samples(tuple(values)) for name, values in measured.items()}
