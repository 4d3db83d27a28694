"""Measures what ``import server_jobs`` costs, and what else it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from tempfile import TemporaryDirectory

from benchmarks.support.contestants import ROOT
from benchmarks.support.measure import alternate, one
from benchmarks.support.report import Figure, Reference, Target
from benchmarks.support.run import Run

NOT_NEEDED = (
    *("typer", "click", "rich", "alembic"),
    *("psycopg", "sqlite3", "asyncpg", "aiosqlite", "httpx", "greenlet"),
)
"""Modules that it mustn't import: the CLI, the migrations, and drivers that aren't used."""

_PROGRAM = """
import json, sys, time
began = time.perf_counter()
import {modules}
seconds = time.perf_counter() - began
print(json.dumps([seconds, [name for name in {looked_for!r} if name in sys.modules]]))
"""


def measure(run: Run) -> Iterator[Figure]:
    with TemporaryDirectory(prefix="sj-bench-") as cache:
        # Compiles both sides to bytecode, wherever they are installed and whatever is set here.
        environment = os.environ | {"PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def imported(modules: str) -> tuple[float, list[str]]:
            done = subprocess.run(
                [sys.executable, "-c", _PROGRAM.format(modules=modules, looked_for=NOT_NEEDED)],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            seconds, found = json.loads(done.stdout)
            return seconds * 1000, found

        rounds = 3 * run.rounds
        run.steps.stage("imports in fresh interpreters", 2 * (rounds + 1))
        times = alternate(
            {
                "server_jobs": lambda: imported("server_jobs")[0],
                "sqlalchemy, pydantic": lambda: imported("sqlalchemy, pydantic")[0],
            },
            rounds,
            step=run.steps.next,
        )
        found = imported("server_jobs")[1]
    yield Figure(
        "import server_jobs",
        "none",
        "ms",
        times["server_jobs"],
        reference=Reference("sqlalchemy, pydantic", times["sqlalchemy, pydantic"]),
        target=Target("most", 1.25, of="reference"),
    )
    yield Figure(
        "CLI, Alembic and drivers imported with it",
        "none",
        "modules",
        one(len(found)),
        target=Target("most", 0, of="figure"),
        note=", ".join(found),
    )
