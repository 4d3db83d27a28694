"""Cuts a batch into lists that one statement takes, by rows and by bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from server_jobs.records.rows import NewJob
from server_jobs.records.text import utf8_size

_ROWS_PER_STATEMENT = 1_000
_BYTES_BESIDE_PAYLOAD = 500

T = TypeVar("T")


def cut(
    items: Sequence[T], size: Callable[[T], int], *, max_statement_bytes: int
) -> Iterator[list[T]]:
    """Cut items into lists that each fit one statement; ``size`` gives an item's payload in bytes.

    An item that is too large for any statement gets one of its own, so that the database's error
    concerns that item alone.
    """
    # Half of the limit: inside of JSON a quote and a backslash take two bytes each.
    limit = max_statement_bytes // 2
    chunk: list[T] = []
    length = 0
    for item in items:
        length += size(item) + _BYTES_BESIDE_PAYLOAD
        if chunk and (length > limit or len(chunk) == _ROWS_PER_STATEMENT):
            yield chunk
            chunk, length = [], size(item) + _BYTES_BESIDE_PAYLOAD
        chunk.append(item)
    if chunk:
        yield chunk


def size_of_values(row: Sequence[object]) -> int:
    """Return how many bytes the texts of a row take."""
    return sum(utf8_size(value) for value in row if isinstance(value, str))


def size_of_new(job: NewJob) -> int:
    """Return how many bytes the texts of a new job take."""
    return size_of_values(
        (job.params, job.unique_key, job.correlation_id, job.retry_policy, job.runtime)
    )
