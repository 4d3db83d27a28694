"""Defines the job that is measured: it has typed params and a typed result, and does nothing."""

from pydantic import BaseModel

from server_jobs import JobContext, create_job_registry, define_job


class Params(BaseModel):
    n: int
    text: str = ""


class Result(BaseModel):
    n: int


@define_job(name="Noop")
async def noop(params: Params, context: JobContext) -> Result:
    """Do nothing."""
    return Result(n=params.n)


registry = create_job_registry().register(noop)


def params(n: int) -> dict[str, object]:
    """Make params as a caller gives them, to be validated."""
    return {"n": n, "text": "the quick brown fox jumps over the lazy dog"}
