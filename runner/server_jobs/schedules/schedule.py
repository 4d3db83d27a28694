"""Defines a schedule: a recurring definition with its checks and its fire times.

A schedule is stored as a row of ``cron_jobs``. The row has everything that is needed to fire it,
since the process that fires it may have none of the user's code.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from itertools import takewhile
from typing import NoReturn

from server_jobs.errors import InvalidScheduleError
from server_jobs.records.text import clean
from server_jobs.schedules.cron import fire_times, parse, time_zone

NEVER = datetime(9999, 12, 31, tzinfo=UTC)
"""The next fire time of a schedule that has ended. NULL would ask for one to be computed."""

CATCHUP_WINDOW_SECONDS = 86_400.0
CATCHUP_LIMIT = 100
MOST_CATCHUPS = 10_000

LONGEST_NAME = 200
_INSTANT = timedelta(microseconds=1)
_LONGEST_JITTER = 86_400.0


class Overlap(StrEnum):
    """Says what happens at a fire time while an earlier job of the schedule hasn't ended."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE = "queue"
    REPLACE = "replace"


class Catchup(StrEnum):
    """Says which missed fire times get a job after downtime."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


class Decision(StrEnum):
    """Says what a scheduler did about a schedule's last fire time."""

    FIRED = "fired"
    SKIPPED = "skipped"
    MISSED = "missed"
    DEDUPLICATED = "deduplicated"
    WAITING = "waiting"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring definition. Durations are in seconds, moments are aware, ``params`` is JSON text.

    ``starts_at`` is the first moment at which the schedule may fire, ``ends_at`` the first moment
    at which it no longer fires.
    """

    name: str
    job_name: str
    cron_expression: str
    time_zone: str = "UTC"
    params: str = "{}"
    queue: str = "default"
    priority: int = 0
    enabled: bool = True
    overlap: str = Overlap.ALLOW
    catchup: str = Catchup.LATEST
    catchup_window_seconds: float | None = CATCHUP_WINDOW_SECONDS
    catchup_limit: int = CATCHUP_LIMIT
    jitter_seconds: float = 0.0
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    max_attempts: int = 3
    timeout_seconds: float | None = None
    retry_policy: str | None = None
    runtime: str | None = None
    managed_by: str = "cli"

    def fire_times(self, after: datetime) -> Iterator[datetime]:
        """Yield the fire times later than ``after``, in order and in UTC.

        Raises InvalidScheduleError if the expression or the time zone can't be read.
        """
        if self.starts_at is not None:
            after = max(after, self.starts_at - _INSTANT)
        ends_at = self.ends_at or NEVER
        expression = parse(self.cron_expression, name=self.name)
        times = fire_times(expression, time_zone(self.time_zone), after)
        return takewhile(lambda fire_time: fire_time < ends_at, times)

    def lasts_at(self, moment: datetime) -> bool:
        """Tell whether the moment lies between ``starts_at`` and ``ends_at``."""
        begun = self.starts_at is None or moment >= self.starts_at
        return begun and moment < (self.ends_at or NEVER)

    def next_after(self, moment: datetime) -> datetime:
        """Find the first fire time later than ``moment`` → in UTC; NEVER if there is none."""
        return next(self.fire_times(moment), NEVER)

    def delay_of(self, fire_time: datetime) -> timedelta:
        """Compute by how much the job of a fire time is put off: in every process the same."""
        if not self.jitter_seconds:
            return timedelta()
        digest = sha256(f"{self.name}\n{fire_time.astimezone(UTC).isoformat()}".encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        return timedelta(seconds=round(share * self.jitter_seconds, 3))

    def check(self) -> None:
        """Check every field. Raises InvalidScheduleError, which names the field and the way out."""
        for field in ("name", "job_name", "queue", "managed_by"):
            text = getattr(self, field)
            if (
                not isinstance(text, str)
                or not 1 <= len(text) <= LONGEST_NAME
                or (text != clean(text))
            ):
                self._refuse(
                    f"{field}={text!r} isn't text of 1 to {LONGEST_NAME} characters without NUL"
                    " or lone surrogates"
                )
        for field, kinds in (("overlap", Overlap), ("catchup", Catchup)):
            if getattr(self, field) not in {str(kind) for kind in kinds}:
                self._refuse(f"{field}={getattr(self, field)!r} isn't one of {', '.join(kinds)}")
        self._check_numbers()
        for field in ("starts_at", "ends_at"):
            moment = getattr(self, field)
            if moment is not None and moment.utcoffset() is None:
                self._refuse(f"{field}={moment!r} has no time zone: give it a tzinfo")
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            self._refuse("ends_at isn't later than starts_at, so it would never fire")
        try:
            first = self.next_after(self.starts_at - _INSTANT if self.starts_at else _EPOCH)
        except InvalidScheduleError as error:
            raise InvalidScheduleError(f"schedule {self.name!r}: {error}") from error
        except OverflowError:
            self._refuse(
                f"starts_at={self.starts_at} is too late to have fire times; None sets no bound"
            )
        if first == NEVER:
            self._refuse("no fire time lies between starts_at and ends_at")

    def _check_numbers(self) -> None:
        if not 0 <= self.jitter_seconds <= _LONGEST_JITTER:
            self._refuse(f"jitter_seconds={self.jitter_seconds} isn't between 0 seconds and a day")
        window = self.catchup_window_seconds
        if window is not None and not (0 < window < math.inf):
            self._refuse(f"catchup_window_seconds={window} isn't more than 0; None sets no bound")
        if not 1 <= self.catchup_limit <= MOST_CATCHUPS:
            self._refuse(f"catchup_limit={self.catchup_limit} isn't between 1 and {MOST_CATCHUPS}")

    def _refuse(self, reason: str) -> NoReturn:
        raise InvalidScheduleError(f"schedule {self.name!r}: {reason}")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecord(Schedule):
    """One row of ``cron_jobs`` with all its columns. Moments are in UTC."""

    id: str
    last_run_at: datetime | None
    """The last fire time for which a decision was made."""
    next_run_at: datetime | None
    """The next fire time; None asks for it to be computed."""
    last_job_id: str | None
    fire_token: str | None
    last_decision: str | None
    last_note: str | None
    created_at: datetime
    updated_at: datetime
    misfits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """By column, what is wrong with a value that hasn't its column's type; it has a stand-in."""
