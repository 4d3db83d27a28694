"""Measures a run that is over, from its rows."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server_jobs import JobRecord, JobStatus
from server_jobs.demo.jobs import Module, analyse_module
from server_jobs.records.attempt_error import LEASE_EXPIRED


@dataclass(frozen=True, slots=True)
class Spread:
    """Holds percentiles of durations, in seconds."""

    median: float
    p95: float
    longest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Compute the percentiles of ``values`` → None if there are no values."""
        if not values:
            return None
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        percentiles = statistics.quantiles(values, n=100, method="inclusive")
        return cls(percentiles[49], percentiles[94], max(values))


@dataclass(frozen=True, slots=True)
class Figures:
    """Holds the run's figures. Times are in seconds, by the database's clock."""

    jobs: int
    completed: int
    seconds: float
    claims: int
    failed_attempts: int
    rescued: int
    waited: Spread | None
    ran: Spread | None
    slowest_module: str | None
    by_worker: Mapping[str, int]

    @property
    def per_second(self) -> float:
        """Completed jobs per second, from the first enqueue to the last completion."""
        return self.completed / self.seconds if self.seconds else 0.0


def figures_of(records: Sequence[JobRecord]) -> Figures:
    """Measure a run by its records."""
    ended = [record for record in records if record.completed_at is not None]
    modules = [record for record in ended if record.job_name == analyse_module.name]
    # Only first attempts count, since later ones also waited for their retry policy.
    waits = [
        (record.handler_started_at - record.scheduled_for).total_seconds()
        for record in modules
        if record.handler_started_at is not None and record.fence == 1
    ]
    by_duration = {
        record: record.duration_seconds for record in modules if record.duration_seconds is not None
    }
    slowest = max(by_duration, key=by_duration.__getitem__, default=None)
    errors = [error for record in records for error in record.attempt_errors]
    first = min((record.created_at for record in records), default=None)
    last = max((record.completed_at for record in ended if record.completed_at), default=None)
    return Figures(
        jobs=len(records),
        completed=sum(record.status is JobStatus.COMPLETED for record in records),
        seconds=(last - first).total_seconds() if first and last else 0.0,
        claims=sum(record.fence for record in records),
        failed_attempts=sum(error.type != LEASE_EXPIRED for error in errors),
        rescued=sum(error.type == LEASE_EXPIRED for error in errors),
        waited=Spread.of(waits),
        ran=Spread.of(list(by_duration.values())),
        slowest_module=None if slowest is None else Module.model_validate_json(slowest.params).path,
        by_worker=Counter(record.worker_id for record in ended if record.worker_id),
    )
