"""The job that is measured: it does nothing, with typed params and a typed result."""

from pydantic import BaseModel

from server_jobs import JobContext, create_job_registry, define_job


class Params(BaseModel):
    n: int
    text: str = ""


class Result(BaseModel):
    n: int


@define_job(name="Noop")
async def noop(params: Params, context: JobContext) -> Result:
    """Nothing."""
    return Result(n=params.n)


registry = create_job_registry().register(noop)


def params(n: int) -> dict[str, object]:
    """What a caller gives, to be validated."""
    return {"n": n, "text": "the quick brown fox jumps over the lazy dog"}
