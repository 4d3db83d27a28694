"""The jobs of the end-to-end tests: one for each way in which a pod can end."""

import asyncio
import os
import signal
import time

from pydantic import BaseModel

from server_jobs import JobContext, PodRuntime, RetryPolicy, create_job_registry, define_job

AT_ONCE = RetryPolicy.fixed(0)


class Number(BaseModel):
    n: int = 0


class Nap(BaseModel):
    seconds: float = 0.0


@define_job(name="Double", retry_policy=AT_ONCE)
async def double(params: Number) -> int:
    return 2 * params.n


@define_job(name="Sleep", retry_policy=AT_ONCE)
async def sleep(params: Nap, context: JobContext) -> int:
    await context.update_progress(1, "asleep")
    await asyncio.sleep(params.seconds)
    return context.attempt


@define_job(name="Deaf", retry_policy=AT_ONCE)
def deaf(params: Nap) -> None:
    """Listens to nobody."""
    time.sleep(params.seconds)


@define_job(name="Timed", retry_policy=AT_ONCE, max_attempts=1, timeout=1)
async def timed(params: Nap) -> None:
    await asyncio.sleep(params.seconds)


@define_job(
    name="Eat",
    retry_policy=AT_ONCE,
    runtime=PodRuntime(memory="96Mi").retry_on_oom(memory_factor=2),
)
async def eat(params: Number) -> int:
    """Takes so many megabytes."""
    return len(bytes(bytearray(os.urandom(1) * 1_000_000 * params.n)))


@define_job(name="Exit", retry_policy=AT_ONCE, max_attempts=1)
async def leave(params: Number) -> None:
    """Ends its whole process, with that status."""
    os._exit(params.n)


@define_job(name="Kill", retry_policy=AT_ONCE, max_attempts=1)
async def kill(params: Number) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@define_job(name="Greedy", runtime=PodRuntime(cpu="64"))
async def greedy(params: Number) -> None: ...


@define_job(name="Unknown")
async def unknown(params: Number) -> None:
    """Not in the registry of the image."""


registry = create_job_registry(app="e2e")
for job in (double, sleep, deaf, timed, eat, leave, kill, greedy):
    registry.register(job)
