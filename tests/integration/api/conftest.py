"""The user's API on both databases. These tests are many, so PostgreSQL's is migrated once."""

from collections.abc import Iterator

import psycopg
import pytest

from server_jobs.migrate import migrate
from tests.support.servers.postgres import temporary_database


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres_server: str) -> Iterator[str]:
    with temporary_database(postgres_server) as url:
        migrate(url)
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def migrated_url(request: pytest.FixtureRequest) -> str:
    """A database with our tables and nothing in them."""
    if request.param == "sqlite":
        sqlite_url: str = request.getfixturevalue("sqlite_url")
        migrate(sqlite_url)
        return sqlite_url
    postgres_url: str = request.getfixturevalue("migrated_postgres_url")
    with psycopg.connect(postgres_url) as connection:
        connection.execute("DELETE FROM jobs")
    return postgres_url
