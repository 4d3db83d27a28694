"""A local worker, as a process, on the queue ``local`` of a libSQL database."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

APP = """
from pydantic import BaseModel
from server_jobs import create_job_registry, define_job

class Numbers(BaseModel):
    numbers: list[float]

@define_job(name="ProcessData")
def process_data(params: Numbers) -> float:
    return sum(params.numbers)

registry = create_job_registry().register(process_data)
"""


@contextmanager
def draining_local_worker(
    folder: Path, url: str, token: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """It ends once its queue is empty, or with the block."""
    (folder / "local_app.py").write_text(APP)
    command = [sys.executable, "-m", "server_jobs.cli", "worker", "--app", "local_app:registry"]
    process = subprocess.Popen(
        [*command, "--queue", "local", "--drain", "--log-level", "warning"],
        cwd=folder,
        env=os.environ | {"TURSO_DATABASE_URL": url, "TURSO_AUTH_TOKEN": token},
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
