"""What a caller may ask of a job, checked: names, priorities, attempts, times."""

from __future__ import annotations

from datetime import timedelta

from server_jobs.errors import InvalidOptionError
from server_jobs.records.text import clean

LONGEST_NAME = 200
"""Characters of a job's name, a queue, a unique key and a correlation id."""


_PRIORITIES = range(-32_768, 32_768)


def check_text(option: str, value: object, job_name: object) -> None:
    """Names and keys: text that every database can hold and index."""
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME or value != clean(value):
        raise InvalidOptionError(
            f"{job_name}: {option}={value!r} isn't text of 1 to {LONGEST_NAME} characters"
            " without NUL and lone surrogates"
        )


def check_priority(value: object, job_name: str) -> None:
    """Priorities: higher goes first."""
    if isinstance(value, bool) or not isinstance(value, int) or value not in _PRIORITIES:
        raise InvalidOptionError(
            f"{job_name}: priority={value!r} isn't a whole number from {_PRIORITIES.start} to"
            f" {_PRIORITIES.stop - 1} (higher goes first)"
        )


def check_max_attempts(value: object, job_name: str) -> None:
    """Attempts: the first one counts too."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000:
        raise InvalidOptionError(
            f"{job_name}: max_attempts={value!r} isn't a whole number from 1 to 1000"
            " (the first attempt counts)"
        )


def seconds_of(value: object, option: str, job_name: str) -> float:
    """A timedelta or a number of seconds, as the latter. Raises InvalidOptionError."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidOptionError(
            f"{job_name}: {option}={value!r} is neither a timedelta nor a number of seconds;"
            " for instance timedelta(minutes=5)"
        )
    return value


def check_timeout(value: float | None, job_name: str) -> None:
    """Timeouts: seconds that one attempt may take."""
    if value is not None and not 0 < value <= 366 * 86_400:
        raise InvalidOptionError(
            f"{job_name}: a timeout of {value!r} s isn't more than 0 and at most 366 days"
        )
