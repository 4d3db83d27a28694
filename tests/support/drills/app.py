"""The app of the drills: every handler records what it does where no fault reaches it.

A record is one line, appended by one write to a file of the process's own: a killed process has
written a line or not, and a database that is away takes nothing with it.
"""

import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel

from server_jobs import JobContext, RetryPolicy, create_job_registry, define_job

FOLDER_SETTING = "TEST_DRILL_FOLDER"

MEANT_TO_FAIL = "this attempt is meant to fail"

AT_ONCE = RetryPolicy.fixed(0)


class Task(BaseModel):
    """How long to work, and how often to fail before that succeeds."""

    seconds: float = 0.0
    failures: int = 0
    follow_up: float | None = None
    """Enqueue a task that is due after so many seconds."""


class Receipt(BaseModel):
    """Who made a result: what the row must agree with."""

    run: str
    fence: int
    attempt: int


@dataclass(frozen=True)
class Effect:
    """A handler's side effect under (job_id, fence): it ``began``, or was about to return."""

    what: Literal["began", "ended"]
    job_id: str
    fence: int
    attempt: int
    run: str
    at: float
    """By the clock of the process that ran it, which may be wrong."""


def effects(folder: Path) -> list[Effect]:
    """What all handlers of all processes have recorded."""
    lines = [line for file in recording(folder) for line in file.read_text().splitlines()]
    return [Effect(**json.loads(line)) for line in lines]


def recording(folder: Path) -> list[Path]:
    """One file for each process that has begun a job."""
    return list(folder.glob("effects-*"))


@define_job(name="Listening", retry_policy=AT_ONCE, max_attempts=8)
async def listening(params: Task, context: JobContext) -> Receipt:
    """Is interrupted when its lease is lost."""
    receipt = _begin(context)
    await asyncio.sleep(params.seconds)
    if params.follow_up is not None:
        await listening.later(Task(), delay=params.follow_up)
    return _end(params, context, receipt)


@define_job(name="Deaf", retry_policy=AT_ONCE, max_attempts=8)
def deaf(params: Task, context: JobContext) -> Receipt:
    """Goes on when its lease is lost, and comes back with a result that nobody may take."""
    receipt = _begin(context)
    time.sleep(params.seconds)
    return _end(params, context, receipt)


registry = create_job_registry().register(listening).register(deaf)


def _begin(context: JobContext) -> Receipt:
    # The fence isn't part of what handlers are offered.
    assert context._held is not None
    receipt = Receipt(run=uuid4().hex, fence=context._held.claim.fence, attempt=context.attempt)
    _record("began", context, receipt)
    return receipt


def _end(params: Task, context: JobContext, receipt: Receipt) -> Receipt:
    if context.attempt <= params.failures:
        raise RuntimeError(MEANT_TO_FAIL)
    _record("ended", context, receipt)
    return receipt


def _record(what: Literal["began", "ended"], context: JobContext, receipt: Receipt) -> None:
    effect = Effect(
        what, str(context.job_id), receipt.fence, receipt.attempt, receipt.run, time.time()
    )
    line = (json.dumps(asdict(effect)) + "\n").encode()
    if os.write(_file(), line) != len(line):
        raise OSError("a side effect was recorded by half: the drill proves nothing")


@cache
def _file() -> int:
    path = Path(os.environ[FOLDER_SETTING]) / f"effects-{os.getpid()}-{uuid4().hex[:8]}"
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
