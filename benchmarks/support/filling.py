"""Lets the database itself make many rows at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from benchmarks.app import noop
from benchmarks.support.databases import BenchDatabase

MIXED_PRIORITIES = "(n * 7919) % 21 - 10"
"""Priorities from −10 to 10, mixed. In these expressions ``n`` is the row's number."""

_ROWS_PER_STEP = 100_000
_fills = itertools.count(1)


def due(queue: str = "default", priority: str = "0") -> dict[str, str]:
    """Return the columns of jobs that a claim may find."""
    return {"queue": f"'{queue}'", "priority": priority, "ready": "true"}


def not_due(database: BenchDatabase) -> dict[str, str]:
    """Return the columns of jobs that become due within the next days."""
    return {"priority": MIXED_PRIORITIES, "scheduled_for": database.moment("86400 + n / 10")}


def finished(database: BenchDatabase) -> dict[str, str]:
    """Return the columns of jobs that were completed during the last days."""
    then = database.moment("-200000 + n / 10")
    return {
        "status": "'completed'",
        "result": """'{"n": 1}'""",
        "progress": "100",
        "attempt_count": "1",
        "fence": "1",
        "worker_id": "'local/host/4711/0123abcd'",
        "worker_started_at": then,
        "handler_started_at": then,
        "scheduled_for": then,
        "created_at": then,
        "updated_at": then,
        "completed_at": then,
    }


def fill(
    database: BenchDatabase,
    count: int,
    columns: Mapping[str, str],
    step: Callable[[str], object] = lambda _: None,
) -> None:
    """Insert ``count`` jobs with these columns, given as SQL expressions of ``n``."""
    number = next(_fills)
    all_columns = {
        "id": f"'{number:08x}-0000-7000-8000-' || {database.hexadecimal('n')}",
        "job_name": f"'{noop.name}'",
        "params": """'{"n": 1, "text": "the quick brown fox jumps over the lazy dog"}'"""
        + database.json_cast,
        **columns,
    }
    if "result" in all_columns:
        all_columns["result"] += database.json_cast
    for start in range(1, count + 1, _ROWS_PER_STEP):
        end = min(start + _ROWS_PER_STEP - 1, count)
        step(f"{end:,} of {count:,} rows")
        database.run(
            f"INSERT INTO jobs ({', '.join(all_columns)})"
            f" SELECT {', '.join(all_columns.values())} FROM {database.series(start, end)}"
        )
    database.settle()


def steps(count: int) -> int:
    """Compute how many steps :func:`fill` takes."""
    return -(-count // _ROWS_PER_STEP)
