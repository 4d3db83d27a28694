"""Defines what every system's handler does: next to nothing, but it tells the benchmark.

The job is the same for all, ``{"to": …, "number": …, "sent": …}``, and reaches the handler decoded.
``sent`` is 0 in a drain. Otherwise it is the moment of enqueuing, by the clock that all processes
of a machine share.
"""

from __future__ import annotations

import os
import time
from itertools import count

DATABASE_VARIABLE = "BENCH_PEERS_DATABASE"
JOBS_VARIABLE = "BENCH_PEERS_JOBS"
PIPE_VARIABLE = "BENCH_PEERS_PIPE"

BEGAN = "began"
RAN = "ran"

_numbers = count(1)  # `next` is atomic: handlers may run on several threads
_jobs = int(os.environ.get(JOBS_VARIABLE, "0"))


def worker_database() -> str | None:
    """Read the URL of this worker's database → None if this process isn't a worker."""
    return os.environ.get(DATABASE_VARIABLE)


def handle(sent: float) -> None:
    """Tell the benchmark when the first job begins and the last has run, or how long this took."""
    if sent:
        _tell(str(time.monotonic() - sent))
        return
    number = next(_numbers)
    if number == 1:
        _tell(f"{BEGAN} {time.monotonic()}")
    if number == _jobs:
        _tell(f"{RAN} {time.monotonic()}")


def _tell(what: str) -> None:
    os.write(int(os.environ[PIPE_VARIABLE]), f"{what}\n".encode())
