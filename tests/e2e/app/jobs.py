"""The jobs of the end-to-end tests: one for each way in which a pod can end."""

import asyncio
import os
import signal
import time
from typing import LiteralString

import psycopg
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


@define_job(name="Wait", retry_policy=AT_ONCE, max_attempts=1)
async def wait_for_gate(params: Number) -> int:
    """Ends when somebody opens the gate."""
    passed = Gate(os.environ["SERVER_JOBS_DATABASE_URL"])
    while not await asyncio.to_thread(passed.is_open):  # noqa: ASYNC110 - opened by others
        await asyncio.sleep(3)
    return params.n


class Gate:
    """Open or closed, for whoever reaches the database."""

    job = wait_for_gate

    def __init__(self, url: str = "") -> None:
        self.url = url

    def open(self) -> None:
        self._run("INSERT INTO gate VALUES (1)")

    def close(self) -> None:
        self._run("CREATE TABLE IF NOT EXISTS gate (open int)")
        self._run("DELETE FROM gate")

    def is_open(self) -> bool:
        with psycopg.connect(self.url) as connection:
            return connection.execute("SELECT FROM gate").fetchone() is not None

    def _run(self, text: LiteralString) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(text)


gate = Gate()
registry = create_job_registry(app="e2e")
for job in (double, sleep, deaf, timed, eat, leave, kill, greedy, wait_for_gate):
    registry.register(job)
