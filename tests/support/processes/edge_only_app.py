"""An app whose only job runs at the edge, named like the one that other processes enqueue."""

from pydantic import BaseModel

from server_jobs import create_job_registry, define_job


class Task(BaseModel):
    n: int = 0


@define_job(name="Quick", runs_on="edge")
async def quick(params: Task) -> int:
    return params.n


registry = create_job_registry()
registry.register(quick)
