"""The app of the runners that are measured: a job whose handler says when it begins."""

from __future__ import annotations

import time

from pydantic import BaseModel

from server_jobs import JobContext, create_job_registry, define_job


class Nothing(BaseModel):
    """No params and no result."""


@define_job(name="Begin")
async def begin(params: Nothing, context: JobContext) -> Nothing:
    print(time.monotonic())
    return params


registry = create_job_registry()
registry.register(begin)
