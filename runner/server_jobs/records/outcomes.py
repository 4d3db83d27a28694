"""How an execution ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from server_jobs.records.attempt_error import AttemptError

MAX_RELEASES = 10
"""How often in a row a started job may be given back; the next release fails it."""

MAX_LAUNCH_FAILURES = 10
"""The number of launches that fail a job: lost that often before its handler began, it fails."""

MAX_DISRUPTIONS = 10
"""The number of disruptions that fail a job: taken down that often after its start, it fails."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The handler returned. ``result`` is JSON text."""

    result: str
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; ``delay_seconds`` is the back-off, if attempts are left."""

    error: AttemptError
    permanent: bool = False
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Released:
    """The job was given back on purpose; the attempt doesn't count.

    ``note`` is what its handler raised when it was asked to stop. It is logged, not stored.
    """

    reason: str
    max_releases: int = MAX_RELEASES
    note: AttemptError | None = None


@dataclass(frozen=True, slots=True)
class Postponed:
    """The handler asked to be run again later; the attempt doesn't count."""

    reason: str
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The job was cancelled, and its handler has ended without a result.

    ``note`` is what the handler raised when it was asked to stop; the reason has its message.
    """

    reason: str
    note: AttemptError | None = None


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A launcher takes the job back before its handler began, through no fault of the job's."""

    reason: str
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LaunchLost:
    """The job was lost before its handler began."""

    error: AttemptError
    delay_seconds: float
    max_failures: int = MAX_LAUNCH_FAILURES


@dataclass(frozen=True, slots=True)
class Disrupted:
    """The platform took the job down after its handler had begun."""

    error: AttemptError
    delay_seconds: float
    max_disruptions: int = MAX_DISRUPTIONS


Outcome: TypeAlias = (
    Completed | Failed | Released | Postponed | Abandoned | Withdrawn | LaunchLost | Disrupted
)
"""How one execution ended; its holder writes this."""


Progress: TypeAlias = tuple[float, str | None]
"""Percent, and a message about what the job is doing."""


def columns_of(outcome: Outcome) -> tuple[object, ...]:
    """Return an outcome's values, in the order in which its statement takes them."""
    match outcome:
        case Completed(result, message):
            return result, message
        case Failed(error, permanent, delay):
            return error.message, error.as_json(), int(permanent), delay
        case Released(reason, max_releases):
            return reason, max_releases
        case Postponed(reason, delay) | Withdrawn(reason, delay):
            return reason, delay
        case Abandoned(reason):
            return (reason,)
        case LaunchLost(error, delay, maximum) | Disrupted(error, delay, maximum):
            return error.message, error.as_json(), delay, maximum
