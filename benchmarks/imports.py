"""Measures what ``import server_jobs`` costs and imports, and how soon commands answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
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

_COMMAND = "from server_jobs.cli import main; main()"

_PROGRAM = """
import json, sys, time
began = time.perf_counter()
{statement}
seconds = time.perf_counter() - began
print(json.dumps([seconds, [name for name in {looked_for!r} if name in sys.modules]]))
"""


def measure(run: Run) -> Iterator[Figure]:
    with TemporaryDirectory(prefix="sj-bench-") as cache:
        # Compiles both sides to bytecode, wherever they are installed and whatever is set here.
        environment = os.environ | {"PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def python(program: str, *arguments: str) -> str:
            return subprocess.run(
                [sys.executable, "-c", program, *arguments],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout

        def imported(statement: str) -> tuple[float, list[str]]:
            program = _PROGRAM.format(statement=statement, looked_for=NOT_NEEDED)
            seconds, found = json.loads(python(program))
            return seconds * 1000, found

        def whole(program: str, *arguments: str) -> float:
            began = time.perf_counter()
            python(program, *arguments)
            return (time.perf_counter() - began) * 1000

        rounds = 3 * run.rounds
        run.steps.stage("imports and commands in fresh interpreters", 6 * (rounds + 1))
        times = alternate(
            {
                # Each name is imported when it is first used.
                "server_jobs": lambda: imported("from server_jobs import *")[0],
                "sqlalchemy, pydantic": lambda: imported("import sqlalchemy, pydantic")[0],
                "server-jobs --version": lambda: whole(_COMMAND, "--version"),
                "python": lambda: whole("pass"),
                "server-jobs --help": lambda: whole(_COMMAND, "--help"),
                "typer, rich": lambda: whole("import typer, typer.rich_utils"),
            },
            rounds,
            step=run.steps.next,
        )
        found = imported("from server_jobs import *")[1]
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
    for command, reference, most in (
        ("server-jobs --version", "python", 3.0),
        ("server-jobs --help", "typer, rich", 1.4),
    ):
        yield Figure(
            command,
            "none",
            "ms",
            times[command],
            reference=Reference(reference, times[reference]),
            target=Target("most", most, of="reference"),
        )
