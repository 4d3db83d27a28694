"""What every test of the suite starts from: an empty database of each kind.

The suite runs in WebAssembly too, where there are no server's drivers: fixtures import their own.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from server_jobs.database import Database
from server_jobs.store.store import Store
from tests.support.clock import Clock
from tests.support.databases.kinds import KINDS, Kind, Place, create_tables
from tests.support.drills.agenda import Agenda
from tests.support.scene import Scene

if TYPE_CHECKING:
    from tests.support.servers.hrana import HranaServer


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from server_jobs.migrate import migrate

    path = tmp_path_factory.mktemp("template") / "migrated.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres_server: str) -> Iterator[str]:
    from server_jobs.migrate import migrate
    from tests.support.servers.postgres import temporary_database

    with temporary_database(postgres_server) as url:
        migrate(url)
        yield url


@pytest.fixture(scope="session")
def hrana_server() -> Iterator["HranaServer"]:
    from tests.support.servers.hrana import HranaServer

    with HranaServer() as server:
        yield server


@pytest.fixture(params=KINDS, ids=[kind.name for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Every kind of database; a test narrows it down with a ``parametrize`` of its own."""
    chosen: Kind = request.param
    return chosen


@pytest.fixture
async def place(kind: Kind, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    place = kind.make_place(request)
    yield place
    await place.close()


@pytest.fixture
async def database(kind: Kind, place: Place) -> Database:
    """A migrated, empty database."""
    database = place.open()
    if kind.created_by_driver:
        await create_tables(database)
    return database


@pytest.fixture
def store(database: Database) -> Store:
    """A store by the database's own clock."""
    return Store(database)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scene(database: Database, clock: Clock) -> Scene:
    """A store by a clock that stands still until the test moves it."""
    return Scene(database, clock)


@pytest.fixture
def agenda(database: Database, clock: Clock) -> Agenda:
    """Schedules by a clock that stands still until the test moves it."""
    return Agenda(database, clock)
