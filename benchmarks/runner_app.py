"""Defines the app of the measured runners: its handler prints when it begins."""

from __future__ import annotations

import time

from pydantic import BaseModel

from server_jobs import JobContext, create_job_registry, define_job

_began = time.monotonic()


class Nothing(BaseModel):
    """Stands for no params."""


@define_job(name="Begin")
async def begin(params: Nothing, context: JobContext) -> Nothing:
    # Defining the job is the user's time, not the runner's.
    print(time.monotonic() - _defining)
    return params


registry = create_job_registry()
registry.register(begin)
_defining = time.monotonic() - _began
