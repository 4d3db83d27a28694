"""Every fault at every point of a worker's life: all jobs end, and nothing is done twice."""

from collections.abc import AsyncIterator
from itertools import product

import pytest

from server_jobs import connect
from server_jobs.database import Database
from server_jobs.migrate import migrate
from tests.support.crew import Crew
from tests.support.endings import record_endings
from tests.support.scripted_database import Fault, Mishap, Point

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
    *([Fault(*pair)] for pair in product(WRITES, Mishap)),
    *(
        [Fault(*pair)]
        for pair in product(QUESTIONS, [Mishap.ERROR, Mishap.CANCELLED, Mishap.KILLED_BEFORE])
    ),
]
AFTER_ANOTHER = [
    [first, Fault(point, mishap)]
    for first, point in (
        (Fault(Point.SETTLE, Mishap.LOST), Point.LOOK_UP),
        (Fault(Point.CLAIM, Mishap.LOST), Point.RECOVER),
        (Fault(Point.CLAIM, Mishap.LATE), Point.RELEASE),
    )
    for mishap in (Mishap.ERROR, Mishap.LOST, Mishap.CANCELLED, Mishap.KILLED_AFTER)
]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a worker does now and then happen while the few jobs of a test run."""
    monkeypatch.setattr("server_jobs.worker.MAINTENANCE_SECONDS", 0.03)
    monkeypatch.setattr("server_jobs.worker.LAST_MOMENT_SECONDS", 1.0)
    monkeypatch.setattr("server_jobs.leases.TICK_SECONDS", 0.02)


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
    ids=lambda script: "-".join(f"{f.point.name}_{f.mishap.name}" for f in script).lower(),
)
async def test_all_jobs_end_and_none_completes_twice(
    database: Database, script: list[Fault]
) -> None:
    crew = Crew(database)
    await crew.enqueue()

    worked = await crew.work(script)

    assert worked.happened == script
    await crew.check(nobody_died=not any(fault.mishap.kills for fault in script))
