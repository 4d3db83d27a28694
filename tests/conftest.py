"""The databases that tests run on, each empty and a test's own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers.postgres import running_server, temporary_database

POSTGRES_URL_SETTING = "SERVER_JOBS_TEST_POSTGRES_URL"

pytest_plugins = ["pytester", "tests.support.hypothesis_profiles", "tests.support.skips"]


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test must not reach the database that a developer's own shell points to."""
    for name in list(os.environ):
        if name.startswith("SERVER_JOBS_") and name != POSTGRES_URL_SETTING:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server whose user may create databases.

    Under pytest-xdist every worker process has its own server: one takes about a second, and
    nothing needs to be shared or locked.
    """
    given = os.environ.get(POSTGRES_URL_SETTING)
    if given:
        yield given
    else:
        with running_server() as url:
            yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database, dropped after the test."""
    with temporary_database(postgres_server) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'server-jobs.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database: the test runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
