"""The jobs of an app, by name, and their schedules."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from server_jobs.database import Capabilities, Database, connect, url_from_environment
from server_jobs.definition.enqueue import check_overrides
from server_jobs.definition.options import ScheduleOptions, seconds_of
from server_jobs.errors import (
    DuplicateJobError,
    InvalidParamsError,
    InvalidScheduleError,
    UnknownJobError,
)
from server_jobs.job import Job

if TYPE_CHECKING:
    from server_jobs.schedules.schedule import Schedule

P = TypeVar("P")


class JobRegistry:
    """The jobs of an app and their schedules.

    ``register`` and ``schedule`` return the registry, so that calls chain. ``app`` names the
    source of its schedules and must be the same in all its workers; two apps on one database need
    two names. By default ``server-jobs worker`` uses the text of ``--app``.
    """

    def __init__(self, app: str | None = None) -> None:
        self.app = app
        self._jobs: dict[str, Job[Any, Any]] = {}
        self._schedules: dict[str, Schedule] = {}
        self._bound: Database | None = None
        self._from_environment: Database | None = None

    def __repr__(self) -> str:
        return f"JobRegistry({', '.join(self.get_names())})"

    def __len__(self) -> int:
        return len(self._jobs)

    def register(self, job: Job[Any, Any]) -> JobRegistry:
        """Add a job. Raises DuplicateJobError where another one has its name."""
        if not isinstance(job, Job):
            raise TypeError(f"register() takes a job made by define_job(), not {job!r}")
        if self._jobs.setdefault(job.name, job) is not job:
            raise DuplicateJobError(
                f"the registry already has a job {job.name!r}; give one of them another name"
            )
        job.fall_back_to(self)
        return self

    def has(self, name: str) -> bool:
        """Return whether there is a job of that name."""
        return name in self._jobs

    def get(self, name: str) -> Job[Any, Any]:
        """Return the job of that name. Raises UnknownJobError."""
        try:
            return self._jobs[name]
        except KeyError:
            close = difflib.get_close_matches(name, self._jobs, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            known = ", ".join(self.get_names()) or "none"
            raise UnknownJobError(
                f"there is no job {name!r} in the registry{hint} (it has: {known})"
            ) from None

    def get_names(self) -> list[str]:
        """Return the jobs' names, in order of registration."""
        return list(self._jobs)

    def schedule(
        self,
        job: Job[P, Any],
        expression: str,
        *,
        params: P | Mapping[str, Any] | None = None,
        name: str | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> JobRegistry:
        """Run a job again and again, at the times of a cron expression.

        >>> registry.schedule(send_report, "0 9 * * 1-5", time_zone="Europe/Zurich")

        Workers write the schedule into the database when they start, under ``name`` (by default
        the job's). ``overlap`` says what happens while an earlier job of the schedule hasn't ended.
        ``catchup`` says which fire times are made up for after downtime: those within
        ``catchup_window`` (a timedelta or seconds; None is without bound), with at most
        ``catchup_limit`` jobs. ``jitter`` delays each job by up to that time. The schedule fires
        from ``starts_at`` on and before ``ends_at``. ``enabled`` says whether a new schedule is
        switched on; afterwards ``server-jobs schedule enable`` and ``disable`` switch it.
        docs/schedules.md has more.

        Raises InvalidScheduleError, InvalidParamsError and InvalidOptionError, and
        UnknownJobError where the job isn't registered.
        """
        if self.get(job.name) is not job:
            raise DuplicateJobError(
                f"schedule of {job.name!r}: the registry has another job of that name"
            )
        name = job.name if name is None else name
        if name in self._schedules:
            raise InvalidScheduleError(
                f"schedule {name!r} is declared twice: give one of them another name="
            )
        self._schedules[name] = new_schedule(
            job,
            expression,
            managed_by=self.source,
            name=name,
            params=params,
            **options,
        )
        return self

    @property
    def source(self) -> str:
        """The source of the schedules that are declared here, as in ``cron_jobs.managed_by``."""
        return f"code:{self.app or 'app'}"

    @property
    def schedules(self) -> Sequence[Schedule]:
        """The declared schedules, in order."""
        return [replace(schedule, managed_by=self.source) for schedule in self._schedules.values()]

    def bind(self, database: Database) -> JobRegistry:
        """Use this database for every job here, unless one was set on the job itself."""
        self._bound = database
        return self

    @property
    def database(self) -> Database | None:
        """The database that was bound, if any."""
        return self._bound

    def environment_database(self) -> Database | None:
        """Return the database that the environment names, if any; all jobs share it."""
        url = url_from_environment()
        if self._from_environment is None and url:
            self._from_environment = connect(url)
        return self._from_environment


def _validated(job: Job[P, Any], params: P | Mapping[str, Any] | None) -> P:
    """Return valid params; None stands for an empty object, or for null if that doesn't fit."""
    validate: Callable[[Any], P] = job.definition.params.validate
    try:
        return validate({} if params is None else params)
    except InvalidParamsError as error:
        if params is not None:
            raise
        try:
            return validate(None)
        except InvalidParamsError:
            raise error from None


def new_schedule(
    job: Job[P, Any],
    expression: str,
    *,
    name: str,
    managed_by: str,
    params: P | Mapping[str, Any] | None = None,
    time_zone: str = "UTC",
    overlap: str = "allow",
    catchup: str = "latest",
    catchup_window: timedelta | float | None = 86_400,
    catchup_limit: int = 100,
    jitter: timedelta | float = 0,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    queue: str | None = None,
    priority: int | None = None,
    max_attempts: int | None = None,
    enabled: bool = True,
) -> Schedule:
    """Return a checked schedule of a job; its defaults are those of the job's definition.

    Raises InvalidScheduleError, InvalidParamsError and InvalidOptionError.
    """
    from server_jobs.schedules.schedule import (
        Schedule,  # with croniter: not everybody's import time
    )

    # No job is made here: its id would need entropy, which Workers refuse during import.
    check_overrides(job.name, queue=queue, priority=priority, max_attempts=max_attempts)
    definition = job.definition
    window = catchup_window
    schedule = Schedule(
        name=name,
        job_name=definition.name,
        cron_expression=expression,
        time_zone=time_zone,
        params=definition.params.dump(
            _validated(job, params), max_bytes=Capabilities().max_payload_bytes
        ),
        queue=definition.queue if queue is None else queue,
        priority=definition.priority if priority is None else priority,
        enabled=enabled,
        overlap=overlap,
        catchup=catchup,
        catchup_window_seconds=(
            None if window is None else seconds_of(window, "catchup_window", job.name)
        ),
        catchup_limit=catchup_limit,
        jitter_seconds=seconds_of(jitter, "jitter", job.name),
        starts_at=starts_at,
        ends_at=ends_at,
        max_attempts=definition.max_attempts if max_attempts is None else max_attempts,
        timeout_seconds=definition.timeout_seconds,
        retry_policy=definition.retry_policy.to_json(),
        runtime=definition.runtime.to_json() if definition.runtime else None,
        managed_by=managed_by,
    )
    schedule.check()
    return schedule


def create_job_registry(app: str | None = None) -> JobRegistry:
    """Return an empty registry; ``app`` names the source of its schedules (see JobRegistry)."""
    return JobRegistry(app)
