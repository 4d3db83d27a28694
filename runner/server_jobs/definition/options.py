"""The options that callers give, typed once, and the checks of their values."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, TypeAlias, TypedDict

from server_jobs.errors import InvalidOptionError
from server_jobs.records.backoff import RetryPolicy
from server_jobs.records.names import TextRule
from server_jobs.records.runtime import PodRuntime

_PRIORITIES = range(-32_768, 32_768)

RunsOn: TypeAlias = Literal["kubernetes", "edge", "local"]
"""The backends that a job can be kept to."""


class JobOptions(TypedDict, total=False):
    """The options of ``define_job``."""

    queue: str
    """The queue that ``later`` uses unless told otherwise; ``"default"`` by default."""
    priority: int
    """The priority that ``later`` uses unless told otherwise. Higher goes first; 0 by default."""
    max_attempts: int
    """How many attempts there are, the first one included; 3 by default."""
    timeout: timedelta | float | None
    """The time limit of one attempt, in seconds if it is a number. By default there is none."""
    retry_policy: RetryPolicy | None
    """How long to wait between attempts."""
    runtime: PodRuntime | None
    """What the job asks of its pod, where Kubernetes executes it."""
    runs_on: RunsOn | None
    """The one backend that executes the job. By default any may."""


class EnqueueOptions(TypedDict, total=False):
    """The options that ``later`` and ``later_many`` share."""

    scheduled_for: datetime | None
    """The moment from which the job is due: a datetime with a time zone. By default: now."""
    delay: timedelta | float | None
    """The time after which the job is due, in seconds if it is a number."""
    priority: int | None
    """Higher goes first. By default the job's own."""
    queue: str | None
    """The queue. By default the job's own."""
    correlation_id: str | None
    """Text of the caller's that is kept with the record and given to the handler."""
    max_attempts: int | None
    """How many attempts there are, the first one included. By default the job's own."""


class ScheduleOptions(TypedDict, total=False):
    """The options of ``JobRegistry.schedule`` that say when a schedule fires, and what."""

    time_zone: str
    """The IANA time zone of the expression; ``"UTC"`` by default."""
    overlap: Literal["allow", "skip", "queue", "replace"]
    """What happens while an earlier job of the schedule hasn't ended; ``"allow"`` by default."""
    catchup: Literal["none", "latest", "all"]
    """Which missed fire times are made up for after downtime; ``"latest"`` by default."""
    catchup_window: timedelta | float | None
    """The age up to which they are made up for; a day by default, None is without bound."""
    catchup_limit: int
    """The number of jobs with which they are made up for at most; 100 by default."""
    jitter: timedelta | float
    """The time by which a job is put off at most; 0 by default."""
    starts_at: datetime | None
    """The first moment at which the schedule may fire."""
    ends_at: datetime | None
    """The first moment at which it no longer fires."""
    queue: str | None
    """The queue of its jobs. By default the job's own."""
    priority: int | None
    """The priority of its jobs. By default the job's own."""
    max_attempts: int | None
    """The attempts of its jobs. By default the job's own."""
    enabled: bool
    """Whether the schedule begins switched on; True by default."""


def check_text(option: str, value: object, job_name: object, rule: TextRule) -> None:
    """Raise InvalidOptionError unless the value is text that the rule allows."""
    if not rule.allows(value):
        raise InvalidOptionError(f"{job_name}: {option}={value!r:.100} isn't {rule.words}")


def check_priority(value: object, job_name: str) -> None:
    """Raise InvalidOptionError unless it is a priority."""
    if isinstance(value, bool) or not isinstance(value, int) or value not in _PRIORITIES:
        raise InvalidOptionError(
            f"{job_name}: priority={value!r} isn't a whole number from {_PRIORITIES.start} to"
            f" {_PRIORITIES.stop - 1} (higher goes first)"
        )


def check_max_attempts(value: object, job_name: str) -> None:
    """Raise InvalidOptionError unless it is a number of attempts, from 1 to 1000."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000:
        raise InvalidOptionError(
            f"{job_name}: max_attempts={value!r} isn't a whole number from 1 to 1000"
            " (the first attempt counts)"
        )


def seconds_of(value: object, option: str, job_name: str) -> float:
    """Return the seconds of a timedelta or a number. Raises InvalidOptionError."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidOptionError(
            f"{job_name}: {option}={value!r} is neither a timedelta nor a number of seconds;"
            " for instance timedelta(minutes=5)"
        )
    return value


def check_timeout(value: float | None, job_name: str) -> None:
    """Raise InvalidOptionError unless it is a time limit in seconds, or None."""
    if value is not None and not 0 < value <= 366 * 86_400:
        raise InvalidOptionError(
            f"{job_name}: a timeout of {value!r} s isn't more than 0 and at most 366 days"
        )
