"""The bundle: what would be uploaded, and nothing that the edge has no use for."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.cloudflare.support import wheels
from tests.cloudflare.support.bundle import DEPLOYABLE, FIXTURE, Bundle, build
from tests.cloudflare.support.edge import Edge, running_edge

LARGEST = 3_000_000
"""Bytes, compressed as wrangler counts them."""

# The deployable Worker once it is there; until then one of the same shape.
WORKER = DEPLOYABLE if (DEPLOYABLE / "wrangler.jsonc").exists() else FIXTURE

UNWANTED = (
    "alembic",
    "asyncpg",
    "greenlet",
    "httpx",
    "kopf",
    "kubernetes",
    "psycopg",
    "rich",
    "server_jobs/cli",
    "server_jobs/database/postgres",
    "server_jobs/database/sqlite",
    "server_jobs/demo",
    "server_jobs/migrat",
    "server_jobs/launches",
    "server_jobs/worker.py",
    "server_jobs_operator",
    "sqlalchemy/ext/asyncio",
    "sqlalchemy/orm",
    "typer",
    "workers/asgi.py",
    "workers/wsgi.py",
)

# Imported inside functions, for URLs that a Worker refuses: servers' drivers.
ELSEWHERE = {
    "server_jobs.database.httpx_transport",
    "server_jobs.database.postgres",
    "server_jobs.database.postgres_url",
    "server_jobs.database.sqlite",
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return build(WORKER, tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def running(bundle: Bundle) -> Iterator[Edge]:
    with running_edge() as edge:
        edge.migrate()
        edge.start(bundle.mounts(), module=bundle.module)
        yield edge


def test_configuration_has_no_unknown_fields(bundle: Bundle) -> None:
    assert bundle.warnings == []


def test_unknown_field_would_be_noticed(tmp_path: Path) -> None:
    worker = tmp_path / "worker"
    (worker / "src").mkdir(parents=True)
    (worker / "src" / "entry.py").write_text("")
    settings = (FIXTURE / "wrangler.jsonc").read_text()
    (worker / "wrangler.jsonc").write_text(settings.replace("{", '{ "no_such_field": 1,', 1))

    (warning,) = build(worker, tmp_path / "built").warnings

    assert "no_such_field" in warning


def test_python_is_chosen_by_the_date_alone() -> None:
    settings = (DEPLOYABLE / "wrangler.jsonc").read_text()

    date = re.search(r'"compatibility_date": "(.*)"', settings)
    flags = re.search(r'"compatibility_flags": \[(.*)\]', settings)

    assert date is not None
    assert date[1] >= "2026-09-08"
    assert flags is not None
    # The platform refuses a flag that the date implies, as it does `python_workers_314`.
    assert flags[1] == '"python_workers"'


def test_bundle_is_small_enough(bundle: Bundle) -> None:
    assert bundle.compressed_bytes <= LARGEST


def test_pins_are_all_that_the_pinned_packages_ask_for() -> None:
    pinned = {Requirement(pin).name: Requirement(pin) for pin in wheels.pins(wheels.WORKER)}
    places = [str(wheels.installed(wheels.WORKER)), str(wheels.own())]

    asked = [
        (distribution.name, Requirement(text))
        for distribution in Distribution.discover(path=places)
        for text in distribution.requires or ()
    ]
    edge = {"python_version": wheels.PYTHON, "sys_platform": "emscripten", "extra": ""}
    edge |= {"platform_machine": "wasm32", "platform_system": "Emscripten"}
    needed = [(by, each) for by, each in asked if not each.marker or each.marker.evaluate(edge)]

    assert {by for by, _ in needed} >= {"server-jobs", "pydantic"}
    for by, requirement in needed:
        assert requirement.name in pinned, f"{by} needs {requirement}, which is not pinned"
        (version,) = pinned[requirement.name].specifier
        assert version.operator == "=="
        assert requirement.specifier.contains(version.version), f"{by} needs {requirement}"


def test_pywrangler_can_take_server_jobs_from_the_clone_without_building_it() -> None:
    worker = tomllib.loads((DEPLOYABLE / "pyproject.toml").read_text())
    source = DEPLOYABLE / worker["tool"]["uv"]["sources"]["server-jobs"]["path"]
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]

    assert "server-jobs" in worker["project"]["dependencies"]
    assert project["name"] == "server-jobs"
    # It resolves with `uv pip compile --no-build`, which reads what is written down and no more.
    assert not project.get("dynamic")


def test_vendors_hooks_are_uploaded(bundle: Bundle) -> None:
    vendored = wheels.installed(wheels.WORKER)
    hooks = sorted(path.name for path in vendored.glob("*.pth"))

    assert "_workers_sdk_patch_loader.pth" in hooks
    for hook in hooks:
        assert hook in bundle.files()
        for module in re.findall(r"^import (\w+)", (vendored / hook).read_text(), re.MULTILINE):
            assert f"{module}.py" in bundle.files()


def test_whatever_our_modules_import_is_uploaded(bundle: Bundle) -> None:
    files = bundle.files()
    vendored = {file.split("/")[0].removesuffix(".py") for file in files}
    missing = {
        name
        for file in files
        if file.endswith(".py") and file.startswith(("server_jobs/", "server_jobs_cloudflare/"))
        for name in _imported(bundle.packages / file)
        if name.split(".")[0] in vendored
        and not {f"{name.replace('.', '/')}.py", f"{name.replace('.', '/')}/__init__.py"} & files
    }

    assert missing == ELSEWHERE


def _imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, be it in a function, and not for types alone."""
    tree = ast.parse(file.read_text())
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_nothing_of_a_server_is_uploaded(bundle: Bundle) -> None:
    files = bundle.files()

    assert "server_jobs/store/store.py" in files
    assert "server_jobs_cloudflare/d1.py" in files
    assert not [file for file in files for name in UNWANTED if file.startswith(name)]


def test_what_would_be_uploaded_runs_and_imports_nothing_of_a_server(running: Edge) -> None:
    running.tick()

    imported = running.python("import json, sys; json.dumps(sorted(sys.modules))")
    assert "server_jobs.store.store" in imported
    unwanted = [name.replace("/", ".") for name in UNWANTED]
    assert not [module for module in imported for name in unwanted if module.startswith(name)]
