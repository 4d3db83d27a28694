"""Decides which changes of the run are worth telling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from server_jobs import JobRecord, JobStatus
from server_jobs.records.attempt_error import LEASE_EXPIRED


class Tone(Enum):
    """Says what kind of news it is, by its colour."""

    PLAIN = ""
    GOOD = "green"
    BAD = "red"
    ODD = "yellow"


class News(NamedTuple):
    """One line that is told about the run."""

    text: str
    tone: Tone = Tone.PLAIN


class Story:
    """Compares records with what was told about them already."""

    def __init__(self) -> None:
        self._errors_told: dict[str, int] = {}
        self._ends_told: set[str] = set()

    def of(self, records: Iterable[JobRecord]) -> list[News]:
        """Find out what has happened to these jobs since the last call."""
        return [news for record in records for news in self._of_one(record)]

    def _of_one(self, record: JobRecord) -> Iterator[News]:
        errors = record.attempt_errors
        for error in errors[self._errors_told.get(record.id, 0) :]:
            # The jobs of a dead worker are rescued together, so one line tells of all.
            if error.type != LEASE_EXPIRED:
                said = f"{error.type}: {error.message}"
                yield News(f"{short_name(record)}, attempt {error.attempt}: {said}", Tone.ODD)
        self._errors_told[record.id] = len(errors)
        if record.status.finished and record.id not in self._ends_told:
            self._ends_told.add(record.id)
            yield _end_of(record)


def short_name(record: JobRecord) -> str:
    """Return the job's name without the demo's prefix."""
    return record.job_name.removeprefix("demo.")


def count_of_jobs(count: int) -> str:
    """Write a number of jobs: ``1 job``, ``1,234 jobs``."""
    return f"{count:,} job" if count == 1 else f"{count:,} jobs"


def _end_of(record: JobRecord) -> News:
    what = f"{short_name(record)} {record.status} on attempt {record.attempt_count}"
    if record.status is JobStatus.COMPLETED:
        return News(what, Tone.GOOD)
    return News(f"{what}: {record.error}; its params are {record.params}", Tone.BAD)
