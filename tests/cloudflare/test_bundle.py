"""The bundle: what would be uploaded, and nothing that the edge has no use for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloudflare.support.bundle import DEPLOYABLE, FIXTURE, Bundle, build
from tests.cloudflare.support.edge import Edge, running_edge

LARGEST = 3 * 1024 * 1024
"""Bytes, compressed: what the free plan takes."""

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
    "server_jobs_operator",
    "sqlalchemy/ext/asyncio",
    "sqlalchemy/orm",
    "typer",
)


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


def test_bundle_is_small_enough_for_every_plan(bundle: Bundle) -> None:
    assert bundle.compressed_bytes <= LARGEST


def test_nothing_of_a_server_is_uploaded(bundle: Bundle) -> None:
    files = bundle.files()

    assert "server_jobs/store.py" in files
    assert "server_jobs_cloudflare/d1.py" in files
    assert not [file for file in files for name in UNWANTED if file.startswith(name)]


def test_what_would_be_uploaded_runs_and_imports_nothing_of_a_server(running: Edge) -> None:
    running.tick()

    imported = running.python("import json, sys; json.dumps(sorted(sys.modules))")
    assert "server_jobs.store" in imported
    unwanted = [name.replace("/", ".") for name in UNWANTED]
    assert not [module for module in imported for name in unwanted if module.startswith(name)]
