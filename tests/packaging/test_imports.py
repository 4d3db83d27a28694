"""What `import server_jobs` costs and needs: the standard library, pydantic and SQLAlchemy."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import server_jobs

NOT_NEEDED_TO_DEFINE_JOBS = [
    "aiosqlite",
    "alembic",
    "asyncpg",
    "click",
    "croniter",
    "greenlet",
    "httpx",
    "kopf",
    "kubernetes",
    "psycopg",
    "rich",
    "sqlite3",
    "structlog",
    "typer",
]

# Each of these takes longer to load than all of our own modules.
LOADED_ONCE_THEY_ARE_USED = [
    "pydantic.main",
    "pydantic.type_adapter",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
]

IMPORT = """
import json, sys
from server_jobs import *
print(json.dumps(sorted(sys.modules)))
"""

# What is blocked looks as if it weren't installed.
BLOCK = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""

EXECUTE_IN_MEMORY = """
import asyncio
from server_jobs import JobContext, create_job_registry, define_job, run_sync
from server_jobs.memory import InMemoryBackend

@define_job(name="Double")
async def double(params: int, context: JobContext) -> int:
    await context.update_progress(50, "half")
    return 2 * params

@define_job(name="Halve")
def halve(params: int) -> int:
    return params // 2

async def main() -> None:
    assert (await double.now(4, persist=False)).data == 8
    registry = create_job_registry().register(double).register(halve)
    backend = InMemoryBackend(job_registry=registry)
    await backend.initialize()
    registry.bind(backend.database)
    assert (await double.now(4)).data == 8
    job_id = await halve.later(4)
    for job in (await backend.poll_and_claim()).claimed_jobs:
        assert (await backend.execute(job)).success
    assert (await halve.wait(job_id)).data == 2
    await backend.shutdown()

asyncio.run(main())
assert run_sync(double.now(4, persist=False)).data == 8
print("fine")
"""

USE_POSTGRES = """
from server_jobs import connect
from server_jobs.errors import MissingDependencyError
try:
    connect("postgresql://localhost/x")
except MissingDependencyError as error:
    print(error)
"""

MIGRATE = """
from server_jobs.errors import MissingDependencyError
from server_jobs.migrate import migrate
try:
    migrate("sqlite://")
except MissingDependencyError as error:
    print(error)
"""

COMMAND = """
import sys
from server_jobs.cli import main
sys.argv = ["server-jobs", "--help"]
main()
"""

OPERATOR = """
import sys
from server_jobs_operator.__main__ import main
sys.argv = ["server-jobs-operator", "--help"]
main()
"""

# What a command has imported is the last line of stderr.
IMPORTS_OF_COMMAND = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from server_jobs.cli import main
sys.argv = ["server-jobs", *{arguments!r}]
main()
"""
# Not pydantic: Typer reads a command's options by it, if not those of the first group.
NEEDED_BY_NO_HELP = ["alembic", "asyncio", "sqlalchemy", "structlog"]


def python(code: str, *, blocked: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter to which some modules aren't there."""
    if blocked is not None:
        code = BLOCK.format(blocked=set(blocked)) + code
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=Path(__file__).parent,
    )


def test_each_public_name_is_imported_from_where_type_checkers_look_for_it() -> None:
    for_type_checkers = {
        alias.name: (node.module or "").removeprefix("server_jobs.")
        for block in ast.parse(Path(server_jobs.__file__).read_text("utf-8")).body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert for_type_checkers == server_jobs._MODULES
    assert set(for_type_checkers) <= set(server_jobs.__all__) <= set(dir(server_jobs))
    assert all(getattr(server_jobs, name) for name in server_jobs.__all__)


def test_wrong_name_is_an_attribute_error_as_of_any_module() -> None:
    with pytest.raises(AttributeError, match="'server_jobs' has no attribute 'define_jobs'"):
        server_jobs.define_jobs  # type: ignore[attr-defined]  # noqa: B018


def test_importing_imports_no_more_than_it_needs() -> None:
    done = python(IMPORT)

    assert done.returncode == 0, done.stderr
    assert {"pydantic", "sqlalchemy"} <= set(json.loads(done.stdout))
    assert set(json.loads(done.stdout)) & set(NOT_NEEDED_TO_DEFINE_JOBS) == set()
    assert set(json.loads(done.stdout)) & set(LOADED_ONCE_THEY_ARE_USED) == set()


def test_jobs_run_where_nothing_optional_is_installed() -> None:
    # A backend fires schedules too, so that it needs what reads their expressions.
    optional = [name for name in NOT_NEEDED_TO_DEFINE_JOBS if name not in {"croniter", "sqlite3"}]
    done = python(EXECUTE_IN_MEMORY, blocked=optional)

    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def test_jobs_are_defined_where_python_has_no_sqlite() -> None:
    done = python(IMPORT, blocked=NOT_NEEDED_TO_DEFINE_JOBS)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "missing", "extra"),
    [(USE_POSTGRES, "psycopg", "postgres"), (MIGRATE, "alembic", "cli")],
    ids=["postgres", "migrate"],
)
def test_missing_extra_is_named(code: str, missing: str, extra: str) -> None:
    done = python(code, blocked=[missing])

    assert done.returncode == 0, done.stderr
    assert f"pip install 'server-jobs[{extra}]'" in done.stdout


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_command_without_its_extra_says_which_one(missing: str) -> None:
    done = python(COMMAND, blocked=[missing])

    assert done.returncode == 1
    assert "pip install 'server-jobs[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "missing", ["aiohttp", "kopf", "kubernetes", "prometheus_client", "rich", "typer", "yaml"]
)
def test_operator_without_its_extra_says_which_one(missing: str) -> None:
    done = python(OPERATOR, blocked=[missing])

    assert done.returncode == 1
    assert missing in done.stderr
    assert "pip install 'server-jobs[operator]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_command_that_misses_another_library_hides_nothing() -> None:
    done = python(COMMAND, blocked=["shlex"])

    assert "ModuleNotFoundError: No module named 'shlex'" in done.stderr


def imports_of(*arguments: str) -> set[str]:
    done = python(IMPORTS_OF_COMMAND.format(arguments=arguments))
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def commands_in(modules: set[str]) -> set[str]:
    package = "server_jobs.cli.commands."
    return {name.removeprefix(package) for name in modules if name.startswith(package)}


def test_version_needs_only_what_every_command_does_first() -> None:
    imported = imports_of("--version")

    slow = {"dataclasses", "inspect", "logging", "pathlib", "pydantic", "rich", "typer"}
    assert imported & {*slow, *NEEDED_BY_NO_HELP} == set()
    assert {name for name in imported if name.startswith("server_jobs.")} == {
        "server_jobs.cli",
        "server_jobs.cli.extra",
        "server_jobs.errors",
        # It hears signals from its first moment on, and leaves them to no forked child.
        "server_jobs.children",
        "server_jobs.cli.interruption",
        "server_jobs.deadline",
        "server_jobs.signals",
        # Its variables and its streams are made fit.
        "server_jobs.cli.environment",
        "server_jobs.cli.streams",
    }


@pytest.mark.parametrize("arguments", [("--help",), ("schedule", "--help")], ids="-".join)
def test_help_lists_commands_without_importing_them(arguments: tuple[str, ...]) -> None:
    imported = imports_of(*arguments)

    assert imported & set(NEEDED_BY_NO_HELP) == set()
    assert commands_in(imported) <= {"schedule", "schedule.group"}


def test_command_imports_no_other_command() -> None:
    assert commands_in(imports_of("list", "--help")) == {"list"}


def test_run_needs_nothing_of_the_extra_for_runner_images_come_without_it() -> None:
    imported = imports_of("run", "--help")

    assert imported & {"alembic", "pytimeparse", "rich", "structlog", "typer"} == set()
