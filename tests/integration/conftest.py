"""A migrated database, empty and a test's own, of each kind."""

from collections.abc import AsyncIterator

import pytest

from server_jobs import connect
from server_jobs.database import Database
from server_jobs.migrate import migrate
from server_jobs.store.store import Store


@pytest.fixture
def migrated_url(database_url: str) -> str:
    migrate(database_url)
    return database_url


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    database = connect(migrated_url)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)
