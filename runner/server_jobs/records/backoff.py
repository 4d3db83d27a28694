"""How long a job waits before its next attempt, or before it is launched again."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from server_jobs.errors import InvalidJobDefinitionError

LONGEST_DELAY = 366 * 86_400.0


def _seconds(value: timedelta | float) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds to wait after a failed attempt.

    ``RetryPolicy.exponential()`` is the default: a random delay between zero and
    ``base * factor ** (attempt - 1)``, at most ``maximum`` ("full jitter", which spreads a crowd
    of retries best). ``RetryPolicy.fixed(30)`` always waits 30 seconds.
    ``RetryPolicy.custom(function)`` calls a function with the attempt's number, from 1. It isn't
    stored: a process that settles the attempt without the job's code (a rescue by another
    app, the Kubernetes operator) uses the default.
    """

    base_seconds: float = 5.0
    factor: float = 2.0
    max_seconds: float = 3_600.0
    jitter: bool = True
    function: Callable[[int], timedelta | float] | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.base_seconds <= LONGEST_DELAY and 0 <= self.max_seconds <= LONGEST_DELAY):
            raise InvalidJobDefinitionError("a retry delay is between 0 seconds and 366 days")
        if not 1 <= self.factor <= 1_000:
            raise InvalidJobDefinitionError(f"factor={self.factor} isn't between 1 and 1000")

    @classmethod
    def exponential(
        cls,
        base: timedelta | float = 5.0,
        *,
        factor: float = 2.0,
        maximum: timedelta | float = 3_600.0,
        jitter: bool = True,
    ) -> RetryPolicy:
        """Wait longer after each attempt, by ``factor``; times are timedeltas or seconds."""
        return cls(_seconds(base), factor, _seconds(maximum), jitter)

    @classmethod
    def fixed(cls, delay: timedelta | float) -> RetryPolicy:
        """Wait the same time after each attempt."""
        return cls(_seconds(delay), 1.0, _seconds(delay), jitter=False)

    @classmethod
    def custom(cls, function: Callable[[int], timedelta | float]) -> RetryPolicy:
        """Wait as long as ``function(attempt)`` returns."""
        return cls(function=function)

    def delay_seconds(self, attempt: int) -> float:
        """Return the seconds to wait after this attempt, counted from 1."""
        if self.function is not None:
            seconds = _seconds(self.function(attempt))
            if math.isnan(seconds):
                raise ValueError(f"{self.function!r} returned a delay of NaN")
            return min(max(seconds, 0.0), LONGEST_DELAY)
        # The exponent is bounded first: a float overflows long before attempts run out.
        growth = self.factor ** min(max(attempt, 1) - 1, 100)
        longest = min(self.base_seconds * growth, self.max_seconds)
        return random.uniform(0, longest) if self.jitter else longest

    def to_json(self) -> str | None:
        """Return the JSON that is stored in the row; None for a custom function."""
        if self.function is not None:
            return None
        document = {
            "base_seconds": self.base_seconds,
            "factor": self.factor,
            "max_seconds": self.max_seconds,
            "jitter": self.jitter,
        }
        return json.dumps(document)

    @classmethod
    def from_json(cls, text: str | None) -> RetryPolicy:
        """Return the policy of a row; the default if it has none, or none that can be read."""
        if text is None:
            return cls()
        try:
            document: Any = json.loads(text)
            known = {name: document[name] for name in _STORED if name in document}
            return cls(**known)
        except (ValueError, TypeError, RecursionError, InvalidJobDefinitionError):
            return cls()


_STORED = ("base_seconds", "factor", "max_seconds", "jitter")


def launch_backoff(failures: int) -> float:
    """Return the seconds to wait before another launch, after ``failures`` earlier ones failed."""
    return min(10.0 * 2.0 ** min(failures, 10), 300.0)
