"""Which jobs an app has, by name."""

from __future__ import annotations

import difflib
import os
from typing import Any

from server_jobs.database import DATABASE_URL_VARIABLE, Database, connect
from server_jobs.errors import DuplicateJobError, UnknownJobError
from server_jobs.job import Job


class JobRegistry:
    """The jobs of an app. ``register`` returns the registry, so that calls chain."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job[Any, Any]] = {}
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
        """Whether there is a job of that name."""
        return name in self._jobs

    def get(self, name: str) -> Job[Any, Any]:
        """The job of that name. Raises UnknownJobError."""
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
        """The names, in order of registration."""
        return list(self._jobs)

    def bind(self, database: Database) -> JobRegistry:
        """Let every job here use this database, unless one was set on the job itself."""
        self._bound = database
        return self

    @property
    def database(self) -> Database | None:
        """What was bound; None where jobs look elsewhere."""
        return self._bound

    def environments_database(self) -> Database | None:
        """What the environment names, if anything: one for all jobs, not one each."""
        url = os.environ.get(DATABASE_URL_VARIABLE)
        if self._from_environment is None and url:
            self._from_environment = connect(url)
        return self._from_environment


def create_job_registry() -> JobRegistry:
    """An empty registry."""
    return JobRegistry()
