"""What the operator's parts are tested with: an API server in memory and a real table."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from server_jobs import connect
from server_jobs.database import Database
from server_jobs.launches.store import LaunchStore
from server_jobs.migrate import migrate
from tests.operator.bench import Bench
from tests.operator.fake_kube import FakeKube
from tests.operator.samples import SETTINGS


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube()


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    migrate(sqlite_url)
    database = connect(sqlite_url)
    yield database
    await database.close()


@pytest.fixture
def launches(database: Database) -> LaunchStore:
    return LaunchStore(database, SETTINGS.worker_prefix)


@pytest.fixture
async def bench(kube: FakeKube, launches: LaunchStore) -> AsyncIterator[Bench]:
    """The parts put together, each pushed by the test alone."""
    bench = Bench(kube, launches, replace(SETTINGS, creates_per_second=10_000.0))
    yield bench
    await bench.end()
