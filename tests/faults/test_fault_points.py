"""Every fault at every point of a worker's life: all jobs end, and nothing is done twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server_jobs import connect
from server_jobs.database import Database
from server_jobs.execution.lease_keeper import LeaseKeeping
from server_jobs.migrate import migrate
from tests.support.databases.endings import record_endings
from tests.support.databases.raw_sql import run
from tests.support.databases.scripted import Incident, Mishap, Point
from tests.support.drills.crew import Crew
from tests.support.servers.postgres import temporary_database

WRITES = [
    Point.CLAIM,
    Point.SETTLE,
    Point.RELEASE,
    Point.HEARTBEAT,
    Point.PROGRESS,
    Point.STAGE,
    Point.RESCUE,
]
QUESTIONS = [Point.CANCELLATIONS, Point.EXPIRED]
"""Statements that write nothing: whether they ran makes no difference."""

BY_THEMSELVES = [
    *([Incident(*pair)] for pair in product(WRITES, Mishap)),
    *(
        [Incident(*pair)]
        for pair in product(QUESTIONS, [Mishap.ERROR, Mishap.CANCELLED, Mishap.KILLED_BEFORE])
    ),
]
AFTER_ANOTHER = [
    [first, Incident(point, mishap)]
    for first, point in (
        (Incident(Point.SETTLE, Mishap.LOST), Point.LOOK_UP),
        (Incident(Point.CLAIM, Mishap.LOST), Point.RECOVER),
        (Incident(Point.CLAIM, Mishap.LATE), Point.SETTLE),
        (Incident(Point.CLAIM, Mishap.LATE), Point.RELEASE),
    )
    for mishap in (Mishap.ERROR, Mishap.LOST, Mishap.CANCELLED, Mishap.KILLED_AFTER)
]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a worker does now and then happen while the few jobs of a test run."""
    monkeypatch.setattr("server_jobs.backend.upkeep.MAINTENANCE_SECONDS", 0.03)
    monkeypatch.setattr("server_jobs.worker.MAINTENANCE_SECONDS", 0.03)
    monkeypatch.setattr("server_jobs.worker.LAST_MOMENT_SECONDS", 1.0)
    often = partial(LeaseKeeping, tick_seconds=0.02)
    monkeypatch.setattr("server_jobs.execution.lease_keeper.LeaseKeeping", often)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def url_of_all_examples(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A migrated database that many examples use, one after the other."""
    with contextlib.ExitStack() as until_the_end:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('faults') / 'server-jobs.db'}"
        else:
            server = request.getfixturevalue("postgres_server")
            url = until_the_end.enter_context(temporary_database(server))
        migrate(url)
        asyncio.run(_use(url, record_endings))
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    migrate(database_url)
    database = connect(database_url)
    await record_endings(database)
    yield database
    await database.close()


@pytest.mark.parametrize(
    "script",
    BY_THEMSELVES + AFTER_ANOTHER,
    ids=lambda script: "-".join(
        f"{incident.point.name}_{incident.mishap.name}" for incident in script
    ).lower(),
)
async def test_all_jobs_end_and_none_completes_twice(
    database: Database, script: list[Incident]
) -> None:
    crew = Crew(database)
    await crew.enqueue()

    worked = await crew.work(script)

    assert worked.happened == script
    await crew.check(nobody_died=not any(incident.mishap.kills for incident in script))


@settings(max_examples=25)
@given(
    script=st.lists(
        st.builds(
            Incident, st.sampled_from(Point), st.sampled_from(Mishap), passing=st.integers(0, 3)
        ),
        min_size=2,
        max_size=6,
    )
)
def test_all_jobs_end_whatever_happens_in_which_order(
    url_of_all_examples: str, script: list[Incident]
) -> None:
    async def example(database: Database) -> None:
        for table in ("jobs", "endings"):
            await run(database, f"DELETE FROM {table}")
        crew = Crew(database)
        await crew.enqueue()

        worked = await crew.work(script)

        assert worked.happened == script[: len(worked.happened)]
        await crew.check(nobody_died=not any(incident.mishap.kills for incident in worked.happened))

    asyncio.run(_use(url_of_all_examples, example))


async def _use(url: str, what: Callable[[Database], Awaitable[None]]) -> None:
    database = connect(url)
    try:
        await what(database)
    finally:
        await database.close()
