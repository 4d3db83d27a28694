"""Measures how soon the process of a runner, which each pod starts, begins its handler."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from tempfile import TemporaryDirectory

from benchmarks.runner_app import Nothing, begin, registry
from benchmarks.support.contestants import ROOT
from benchmarks.support.databases import Kind
from benchmarks.support.measure import alternate
from benchmarks.support.report import Figure, Reference, Target
from benchmarks.support.run import Run
from server_jobs import connect
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import Claim
from server_jobs.store.store import Store

# `import pydantic` alone imports next to nothing of it, and `import sqlalchemy` no dialect.
NEEDED: dict[Kind, str] = {
    "sqlite": "sqlite3, sqlalchemy.dialects.sqlite, pydantic.main",
    "postgresql": "psycopg, sqlalchemy.dialects.postgresql, pydantic.main",
}


def measure(run: Run) -> Iterator[Figure]:
    """Measure from the process's start to its handler's, connecting and claiming included."""
    for kind in run.kinds:
        rounds = 4 * run.rounds
        needed = NEEDED[kind]
        title = run.databases.title(kind)
        run.steps.stage(f"{title}: runners that start", 2 * (rounds + 1))
        with (
            run.databases.empty(kind) as database,
            TemporaryDirectory(prefix="sj-bench-") as cache,
        ):
            # Compiles both sides to bytecode, as in the image, wherever they are installed.
            environment = os.environ | {
                "PYTHONPYCACHEPREFIX": cache,
                "SERVER_JOBS_DATABASE_URL": database.url,
                "SERVER_JOBS_APP": "benchmarks.runner_app:registry",
            }
            environment.pop("PYTHONDONTWRITEBYTECODE", None)
            claims = iter(asyncio.run(_launched(database.url, rounds + 1)))

            def runner(environment: dict[str, str], claims: Iterator[Claim]) -> float:
                claim = next(claims)
                arguments = ["--job-id", claim.job_id, "--fence", str(claim.fence)]
                # This is what the installed command does.
                program = "from server_jobs.cli import main; main()"
                return _milliseconds([program, "run", *arguments], environment)

            times = alternate(
                {
                    "runner": lambda e=environment, j=claims: runner(e, j),  # type: ignore[misc]
                    needed: lambda e=environment, n=needed: _milliseconds(  # type: ignore[misc]
                        [f"import {n}, time; print(time.monotonic())"], e
                    ),
                },
                rounds,
                step=run.steps.next,
            )
        yield Figure(
            "from a runner's start to its handler's",
            title,
            "ms",
            times["runner"],
            reference=Reference(f"python -c 'import {needed}'", times[needed]),
            target=Target("most", 1.2, of="reference"),
        )


def _milliseconds(program: list[str], environment: dict[str, str]) -> float:
    """Measure from the start of a Python to the moment that it prints → seconds."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", *program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{program[0]} ended with {done.returncode}:\n{done.stderr}")
    return (float(done.stdout) - began) * 1000


async def _launched(url: str, jobs: int) -> list[Claim]:
    """Make jobs that a launcher has claimed for runners to come."""
    database = connect(url)
    registry.bind(database)
    try:
        await begin.later_many([Nothing()] * jobs)
        claim = ClaimRequest("default", None, jobs, "bench", 3_600.0, starting=False)
        return [job.claim for job in await Store(database).claim(claim)]
    finally:
        await database.close()
