"""A database for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server_jobs import connect
from server_jobs.database import Database
from tests.support.edge_worker import new_database


@pytest.fixture
def url(tmp_path: Path) -> str:
    return new_database(tmp_path)


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = connect(url)
    yield database
    await database.close()
