"""Measures the raw limits: our statements in bare loops.

Each function is one contestant's process.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks.app import Params, noop, params
from benchmarks.ours import Span
from benchmarks.support.bare import Bare, Bound, bare
from server_jobs.definition.enqueue import new_job
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import NewJob
from server_jobs.schedules.store import DUE_LIMIT
from server_jobs.store.statements.shared import CLAIMED_COLUMNS

CLAIM = 50
"""How many jobs a bare loop claims at once."""

ROWS_PER_STATEMENT = 1_000
"""How many jobs one INSERT adds: as many as the store's."""

_ID = CLAIMED_COLUMNS.index("id")
_FENCE = CLAIMED_COLUMNS.index("fence")


def insert(url: str, count: int) -> Generator[Span | None, Any, None]:
    """Insert jobs one by one, each in a commit of its own; values are made beforehand."""
    with bare(url) as connection:
        yield None
        while True:
            bound = [_insert(connection, [job]) for job in _new_jobs(count)]
            began = time.monotonic()
            for each in bound:
                connection.one(each)
            yield count, began, time.monotonic()


def insert_many(url: str, count: int) -> Generator[Span | None, Any, None]:
    """Insert all jobs in one commit; values are made beforehand."""
    with bare(url) as connection:
        yield None
        while True:
            jobs = _new_jobs(count)
            bound = [
                _insert(connection, jobs[start : start + ROWS_PER_STATEMENT])
                for start in range(0, count, ROWS_PER_STATEMENT)
            ]
            began = time.monotonic()
            connection.together(bound)
            yield count, began, time.monotonic()


def tick(url: str, count: int) -> Generator[Span | None, str, None]:
    """Do a tick's minimum: INSERT the jobs at once (``fire``), or read due schedules (``look``)."""
    with bare(url) as connection:
        due = connection.schedules.due(datetime.now(UTC), DUE_LIMIT)
        compiled, values = connection.compile.bind(due)
        order = yield None
        while True:
            jobs = _insert(connection, _new_jobs(count))
            began = time.monotonic()
            connection.one(jobs if order == "fire" else (compiled.sql, values))
            order = yield 1, began, time.monotonic()


def drain(url: str) -> Generator[Span | None, dict[str, int], None]:
    """Claim 50 and complete 50 until the queue is empty, or until a ``limit`` of jobs is done.

    An order may also set ``commits`` a batch: 2 commits each of the two statements, 1 commits the
    completion of a batch together with the claim of the next.
    """
    with bare(url) as connection:
        queue = _Queue(connection)
        order = yield None
        while True:
            drain = queue.drain_fused if order.get("commits") == 1 else queue.drain
            began = time.monotonic()
            done = drain(order.get("limit"))
            order = yield done, began, time.monotonic()


def serve(url: str) -> Generator[dict[str, Any], Any, None]:
    """Wait for jobs and claim them → when each claim was answered, and the CPU seconds so far."""
    begun: dict[str, float] = {}
    stop = threading.Event()

    def work() -> None:
        with bare(url) as connection:
            queue = _Queue(connection)
            while not stop.is_set():
                connection.wait_for_change(0.5)
                while claimed := queue.claim():
                    now = time.monotonic()
                    begun.update({row[_ID]: now for row in claimed})
                    queue.complete(claimed)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while True:
            yield {"begun": dict(begun), "cpu": time.process_time(), "at": time.monotonic()}
    finally:
        stop.set()
        thread.join()


class _Queue:
    """Runs the statements of a worker's loop."""

    def __init__(self, connection: Bare) -> None:
        self._connection = connection
        statement = connection.hold.claim(ClaimRequest("default", [noop.name], CLAIM, "raw", 300))
        compiled, values = connection.compile.bind(statement)
        self._claim: Bound = (compiled.sql, values)

    def drain(self, limit: int | None) -> int:
        done = 0
        while limit is None or done < limit:
            claimed = self.claim()
            if not claimed:
                break
            self.complete(claimed)
            done += len(claimed)
        return done

    def drain_fused(self, limit: int | None) -> int:
        done = 0
        claimed = self.claim()
        while claimed:
            done += len(claimed)
            if limit is not None and done >= limit:
                self.complete(claimed)
                break
            _, claimed = self._connection.together([self._complete(claimed), self._claim])
        return done

    def claim(self) -> list[tuple[Any, ...]]:
        return self._connection.one(self._claim)

    def complete(self, claimed: Sequence[tuple[Any, ...]]) -> None:
        self._connection.one(self._complete(claimed))

    def _complete(self, claimed: Sequence[tuple[Any, ...]]) -> Bound:
        settled = [(row[_ID], row[_FENCE], '{"n":1}', None) for row in claimed]
        statement = self._connection.settle.complete(settled)
        compiled, values = self._connection.compile.bind(statement)
        return compiled.sql, values


def _new_jobs(count: int) -> list[NewJob]:
    given = itertools.islice(map(params, itertools.count()), count)
    return [new_job(noop.definition, Params(**each), max_bytes=1_000_000) for each in given]  # type: ignore[arg-type]


def _insert(connection: Bare, jobs: Sequence[NewJob]) -> Bound:
    compiled, values = connection.compile.bind(connection.enqueue.enqueue(jobs))
    return compiled.sql, values
