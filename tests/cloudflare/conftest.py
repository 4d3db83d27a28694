"""The edge, with a new database for each test."""

from collections.abc import Iterator

import pytest

from tests.cloudflare.support.edge import Edge, running_edge

# These run inside Pyodide: see test_d1.py.
collect_ignore = ["harness"]


@pytest.fixture
def edge() -> Iterator[Edge]:
    """An empty database with our tables, and no isolate yet."""
    with running_edge() as edge:
        edge.migrate()
        yield edge
