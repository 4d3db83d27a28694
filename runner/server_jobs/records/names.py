"""How long names and keys may be, and what they may hold: the same in code and in the schema."""

from __future__ import annotations

import re
from dataclasses import dataclass

from server_jobs.errors import ConfigurationError
from server_jobs.records.text import shown, utf8_size

LONGEST_NAME = 255
"""The most bytes, in UTF-8, of a job's name, a queue, a schedule's name and its source."""

LONGEST_KEY = 1_000
"""The most bytes, in UTF-8, of a unique key, a correlation id and a worker's id."""


@dataclass(frozen=True, slots=True)
class TextRule:
    """Says which texts may stand in a column."""

    words: str
    """What is allowed, as an error says it."""
    longest: int
    """The most bytes in UTF-8."""
    refused: re.Pattern[str]
    """What no such text has in it."""

    def allows(self, value: object) -> bool:
        """Return whether the value is such a text. An empty one never is."""
        return (
            isinstance(value, str)
            and 1 <= utf8_size(value) <= self.longest
            and self.refused.search(value) is None
        )


NAME = TextRule(
    f"text of 1 to {LONGEST_NAME} bytes (in UTF-8) without control characters",
    LONGEST_NAME,
    re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]"),
)
"""The rule of a job's name, a schedule's name and its source."""

QUEUE = TextRule(
    f"text of 1 to {LONGEST_NAME} bytes (in UTF-8) without blanks, commas and control characters"
    " (a list of queues is written a,b)",
    LONGEST_NAME,
    re.compile(r"[\s,\x00-\x1f\x7f-\x9f\ud800-\udfff]"),
)
"""The rule of a queue: ``mail``, ``mail.high``, ``reports/eu`` and ``büro-1`` are some."""

KEY = TextRule(
    f"text of 1 to {LONGEST_KEY:,} bytes (in UTF-8) without NUL and lone surrogates",
    LONGEST_KEY,
    re.compile(r"[\x00\ud800-\udfff]"),
)
"""The rule of a unique key, a correlation id and a worker's id."""


def check_worker_id(worker_id: str) -> None:
    """Raise ConfigurationError where no row could hold this worker's id."""
    if not KEY.allows(worker_id):
        raise ConfigurationError(f"worker_id is {shown(worker_id)}; it must be {KEY.words}")
