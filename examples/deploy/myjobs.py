"""An application's jobs, as a worker is given them: ``--app myjobs:registry``."""

from pydantic import BaseModel

from server_jobs import create_job_registry, define_job


class Person(BaseModel):
    """Whom to greet."""

    name: str


@define_job(name="SayHello", max_attempts=5)
async def say_hello(params: Person) -> str:
    return f"Hello, {params.name}!"


registry = create_job_registry().register(say_hello)
