"""Importing the core reads no clock, draws no entropy and reaches nothing: the edge forbids it."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, builtins, logging, os, random, secrets, socket, sqlite3, subprocess, sys, threading
import time, uuid, uuid6, zoneinfo
import annotated_types, croniter, pydantic, pydantic.fields, sqlalchemy, structlog
import sqlalchemy.dialects.sqlite, sqlalchemy.dialects.postgresql, sqlalchemy.ext.compiler

def refuse(place, name):
    def refusal(*args, **options):
        raise RuntimeError(f"{name} at import")
    setattr(place, name, refusal)

for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep"):
    refuse(time, name)
for name in ("random", "randint", "randrange", "choice", "shuffle", "sample", "uniform"):
    refuse(random, name)
refuse(os, "urandom")
refuse(random, "_urandom")
refuse(uuid, "uuid4")
refuse(uuid6, "uuid7")
refuse(socket, "socket")
refuse(sqlite3, "connect")
refuse(subprocess, "Popen")
refuse(threading.Thread, "start")
refuse(builtins, "open")
import MODULE
"""


@pytest.mark.parametrize(
    "module",
    [
        "server_jobs",
        "server_jobs.store.store",
        "server_jobs.worker",
        "server_jobs.schedules.scheduler",
        "server_jobs.database.hrana",
        "server_jobs_cloudflare",
        "server_jobs_cloudflare.d1",
    ],
)
def test_import_is_quiet(module: str) -> None:
    program = PROGRAM.replace("MODULE", module)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


DECLARATIONS = """
from datetime import datetime, timezone
from typing import Any
from server_jobs import create_job_registry, define_job

@define_job(queue="edge")
async def report(params: dict[str, Any]) -> None: ...

registry = create_job_registry("shop").register(report)
registry.schedule(
    report, "0 9 * * 1-5", params={"to": "Ada"}, time_zone="Europe/Zurich", jitter=5, queue="mail",
    starts_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
)
"""


def test_declaring_jobs_and_schedules_is_quiet(tmp_path: Path) -> None:
    (tmp_path / "declarations.py").write_text(DECLARATIONS)
    program = PROGRAM.replace("MODULE", "declarations")

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
