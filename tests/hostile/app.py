"""The app whose jobs stand beside hostile rows."""

from pydantic import BaseModel

from server_jobs import create_job_registry, define_job
from tests.hostile.rows import JOB


class Number(BaseModel):
    n: int = 0


@define_job(name=JOB)
async def good(params: Number) -> int:
    return params.n


registry = create_job_registry().register(good)
