"""A simulated clock that several processes walk in step, at uneven strides."""

import mmap
import random
import struct
from datetime import datetime, timedelta
from pathlib import Path

ABSENT = 2**62
"""The step of a place that nobody waits for."""

_NUMBER = struct.Struct("q")
_LEAST_STRIDE, _LONGEST_STRIDE = 25.0, 40.0


def moments(start: datetime, end: datetime, seed: int) -> list[datetime]:
    """Where the clock stops on its way from start to end: the same for everybody of a seed."""
    rng = random.Random(seed)
    found = [start]
    while end - found[-1] > timedelta(seconds=2 * _LONGEST_STRIDE):
        stride = rng.uniform(_LEAST_STRIDE, _LONGEST_STRIDE)
        found.append(found[-1] + timedelta(seconds=stride))
    return [*found, found[-1] + (end - found[-1]) / 2, end]


class Places:
    """For each process, in memory that they share: the step it has done, and a count of jobs.

    Each place is written to by one process at a time.
    """

    def __init__(self, path: Path, places: int) -> None:
        size = 2 * places * _NUMBER.size
        if not path.exists():
            path.write_bytes((_NUMBER.pack(-1) + _NUMBER.pack(0)) * places)
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)
        self._places = places

    def step(self, place: int) -> int:
        return self._get(2 * place)

    def reach(self, place: int, step: int) -> None:
        self._set(2 * place, step)

    def slowest(self) -> int:
        """The step that all have done; ABSENT where there is nobody."""
        return min(map(self.step, range(self._places)))

    def join(self, place: int, last: int) -> int:
        """Begin where the others are → the step that counts as done: not the last one."""
        here = min(self.slowest(), last - 1)
        self.reach(place, here)
        return here

    def count(self, place: int) -> int:
        return self._get(2 * place + 1)

    def add(self, place: int, count: int) -> None:
        self._set(2 * place + 1, self.count(place) + count)

    def close(self) -> None:
        self._memory.close()

    def _get(self, index: int) -> int:
        (number,) = _NUMBER.unpack_from(self._memory, index * _NUMBER.size)
        return int(number)

    def _set(self, index: int, number: int) -> None:
        _NUMBER.pack_into(self._memory, index * _NUMBER.size, number)
