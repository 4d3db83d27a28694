"""The edge, with a new database for each test."""

from collections.abc import Iterator

import pytest

from tests.cloudflare.support.bundle import DEPLOYABLE, Bundle, build
from tests.cloudflare.support.edge import Edge, running_edge

# These run inside Pyodide: see test_d1.py.
collect_ignore = ["harness"]


@pytest.fixture
def edge() -> Iterator[Edge]:
    """An empty database with our tables, and no isolate yet."""
    with running_edge() as edge:
        edge.migrate()
        yield edge


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The files of the deployable Worker, as wrangler would upload them."""
    return build(DEPLOYABLE, tmp_path_factory.mktemp("worker"))
