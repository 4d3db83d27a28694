"""The app of worker processes that tests start: every handler writes down that it ran.

What it writes goes to the file that the environment names, one JSON line per event. A line is
one write in append mode, so that several processes share the file.
"""

import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel

from server_jobs import JobContext, RetryPolicy, create_job_registry, define_job

FOLDER_SETTING = "TEST_PROCESS_APP_FOLDER"

AT_ONCE = RetryPolicy.fixed(0)


class Task(BaseModel):
    n: int = 0


@dataclass(frozen=True)
class Event:
    """One thing that a handler did: ``began``, ``ended`` or ``interrupted``."""

    what: str
    job_id: str
    attempt: int
    pid: int


def events(folder: Path) -> list[Event]:
    """What all handlers have written so far."""
    file = folder / "events"
    if not file.exists():
        return []
    return [Event(**json.loads(line)) for line in file.read_text().splitlines()]


def open_gate(folder: Path, attempt: int) -> None:
    """Let the jobs that wait go on, those on this attempt."""
    (folder / f"gate-{attempt}").touch()


@define_job(name="Quick", retry_policy=AT_ONCE)
async def quick(params: Task, context: JobContext) -> int:
    """Over in a moment, but long enough for two workers to share a queue."""
    _note("began", context)
    await asyncio.sleep(0.01)
    _note("ended", context)
    return params.n


@define_job(name="Listening", retry_policy=AT_ONCE)
async def listening(params: Task, context: JobContext) -> int:
    """Waits for its attempt's gate, and ends when it is interrupted."""
    _note("began", context)
    try:
        while not _gate(context).exists():  # noqa: ASYNC110 - another process opens it
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        _note("interrupted", context)
        raise
    _note("ended", context)
    return context.attempt


@define_job(name="Deaf", retry_policy=AT_ONCE)
def deaf(params: Task, context: JobContext) -> int:
    """Waits for its attempt's gate on a thread, and doesn't listen to anybody."""
    _note("began", context)
    while not _gate(context).exists():
        time.sleep(0.02)
    _note("ended", context)
    return context.attempt


@define_job(name="Blocking", retry_policy=AT_ONCE)
async def blocking(params: Task, context: JobContext) -> int:
    """Waits for its attempt's gate, and lets nothing else on its event loop go on."""
    _note("began", context)
    while not _gate(context).exists():
        time.sleep(0.02)  # noqa: ASYNC251 - on purpose
    _note("ended", context)
    return context.attempt


@define_job(name="Stuck", retry_policy=AT_ONCE, max_attempts=1, timeout=0.5)
async def stuck(params: Task, context: JobContext) -> int:
    """The same, with a time limit that nothing on its loop can enforce."""
    _note("began", context)
    while not _gate(context).exists():
        time.sleep(0.02)  # noqa: ASYNC251 - on purpose
    return context.attempt


@define_job(name="Failing", retry_policy=RetryPolicy.fixed(60), max_attempts=2)
def failing(params: Task, context: JobContext) -> int:
    """Raise at once."""
    raise LookupError(f"there is no task {params.n}")


registry = create_job_registry()
for job in (quick, listening, deaf, blocking, stuck, failing):
    registry.register(job)


def _gate(context: JobContext) -> Path:
    return Path(os.environ[FOLDER_SETTING]) / f"gate-{context.attempt}"


def _note(what: str, context: JobContext) -> None:
    event = Event(what, str(context.job_id), context.attempt, os.getpid())
    line = json.dumps(asdict(event)) + "\n"
    descriptor = os.open(
        Path(os.environ[FOLDER_SETTING]) / "events", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
    )
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
