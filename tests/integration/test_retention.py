"""Retention: what a worker prunes beside its work, and that it prunes exactly what is old."""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, literal, select

from server_jobs import JobStatus, connect, define_job
from server_jobs.database import Database
from server_jobs.errors import ConfigurationError, DatabaseUnavailableError
from server_jobs.migrate import migrate
from server_jobs.sql.column_types import UtcDateTime
from server_jobs.sql.statement import Row as DatabaseRow
from server_jobs.sql.statement import Statement
from server_jobs.store.retention import DAY, Keep, Retention, walk
from server_jobs.store.store import Store
from server_jobs.worker import WorkerConfig
from tests.support.databases.faulty import Fault, FaultyDatabase
from tests.support.servers.postgres import temporary_database
from tests.support.workers import PATIENCE_SECONDS, Number, make_worker, registry_of, until, working

COMPLETED, FAILED, CANCELLED = JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED
PENDING, RUNNING = JobStatus.PENDING, JobStatus.RUNNING

Row = tuple[str, JobStatus, int]
"""An id, a status, and how many seconds ago it ended, if it did."""


def uuid7_of(moment: datetime, number: int) -> str:
    """A UUIDv7 of that millisecond."""
    milliseconds = int(moment.timestamp() * 1000)
    return str(UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | number))


def row_of(job_id: str, status: JobStatus, ended_at: datetime) -> dict[str, Any]:
    """A row that the constraints let in. All have the same columns: they are inserted at once."""
    finished, running = status.finished, status is RUNNING
    return {
        "id": job_id,
        "job_name": "Greet",
        "status": status.value,
        "completed_at": ended_at if finished else None,
        "worker_expires_at": ended_at + timedelta(days=1) if running else None,
        "fence": 0 if status is PENDING else 1,
        "attempt_count": 0 if status is PENDING else 1,
    }


async def fill(database: Database, rows: list[dict[str, Any]]) -> None:
    if rows:
        await database.execute(Statement(insert(database.tables.jobs).values(rows)))


async def ids(database: Database) -> set[str]:
    column = database.tables.jobs.c.id
    return {job_id for (job_id,) in await database.execute(Statement(select(column)))}


# ── exactly what is old ──────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def lasting_url(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[str]:
    """A migrated database for all the examples that hypothesis makes."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('retention')}/jobs.db?synchronous=off"
        migrate(url)
        yield url
    else:
        with temporary_database(request.getfixturevalue("postgres_server")) as url:
            migrate(url)
            yield url


NOW = datetime(2030, 1, 1, tzinfo=UTC)
AGES = st.integers(0, 40)
IDS = st.one_of(
    # As `later` makes them, before now; many of the same moment, and some by a clock ahead.
    st.builds(
        lambda age, number: uuid7_of(NOW - timedelta(seconds=age), number),
        st.integers(-5, 60),
        st.integers(0, 99),
    ),
    st.uuids(version=4).map(str),
    st.text("aZ09-~", min_size=1, max_size=36),
)
ROWS = st.lists(
    st.tuples(IDS, st.sampled_from(JobStatus), AGES), max_size=25, unique_by=lambda row: row[0]
)
KEEP = st.one_of(st.none(), AGES)


@given(
    rows=ROWS,
    keep=st.builds(Keep, completed=KEEP, failed=KEEP, cancelled=KEEP),
    stretch=st.integers(1, 7),
)
@settings(max_examples=60)
def test_walk_deletes_exactly_what_has_ended_and_been_kept_for_long_enough(
    lasting_url: str, rows: list[Row], keep: Keep, stretch: int
) -> None:
    kept_for = {COMPLETED: keep.completed, FAILED: keep.failed, CANCELLED: keep.cancelled}

    def is_old(status: JobStatus, age: int) -> bool:
        seconds = kept_for.get(status)
        return seconds is not None and age > seconds

    async def run() -> tuple[set[str], Counter[JobStatus]]:
        database = connect(lasting_url)
        try:
            await database.execute(Statement(delete(database.tables.jobs)))
            ended = [NOW - timedelta(seconds=age) for _, _, age in rows]
            filling = zip(rows, ended, strict=True)
            await fill(database, [row_of(*row[:2], moment) for row, moment in filling])
            gone: Counter[JobStatus] = Counter()
            async for done in walk(
                Store(database), keep.prunable(NOW), delete=True, rows=stretch, rest=0
            ):
                assert done.rows <= stretch
                gone.update(done.prunable)
            return await ids(database), gone
        finally:
            await database.close()

    left, gone = asyncio.run(run())

    assert left == {job_id for job_id, status, age in rows if not is_old(status, age)}
    assert +gone == Counter(status for _, status, age in rows if is_old(status, age))


# ── a pass ───────────────────────────────────────────────────────────────────────────────────


def at(moment: datetime) -> Any:
    """A store's clock that stands still."""
    return literal(moment, UtcDateTime())


async def test_pass_leaves_out_the_ids_of_jobs_that_are_too_young(database: Database) -> None:
    """Without this, each pass would read all that is kept."""
    month = timedelta(days=30)
    old = [row_of(uuid7_of(NOW - month, n), COMPLETED, NOW - month) for n in range(600)]
    young = [row_of(uuid7_of(NOW, n), COMPLETED, NOW) for n in range(2_000)]
    by_hand = [row_of(f"order-{n}", COMPLETED, NOW - month) for n in range(3)]
    await fill(database, [*old, *young, *by_hand])
    counting = FaultyDatabase(database)  # breaks nothing, sees everything
    looks = 0

    def see(statements: Any) -> None:
        nonlocal looks
        looks += any({"after", "limit"} <= statement.values.keys() for statement in statements)

    counting.plan = see

    gone = await Retention(Store(counting, now=at(NOW)), Keep()).run_pass()

    assert gone == {COMPLETED: 603}
    assert await ids(database) == {row["id"] for row in young}
    assert looks == 3, "two stretches of old and the first young ones, one of what lies behind"


async def test_ids_that_look_young_by_chance_go_once_they_dont(database: Database) -> None:
    unlucky = uuid7_of(NOW, 1)
    await fill(database, [row_of(unlucky, COMPLETED, NOW - timedelta(days=30))])
    # A stretch of young ones lies before it, so that it isn't met on the way.
    before_it = [uuid7_of(NOW - timedelta(days=1), n) for n in range(500)]
    await fill(database, [row_of(job_id, COMPLETED, NOW) for job_id in before_it])

    assert await Retention(Store(database, now=at(NOW)), Keep()).run_pass() == {}
    later = Store(database, now=at(NOW + timedelta(days=7, seconds=1)))
    assert await Retention(later, Keep()).run_pass() == {COMPLETED: 501}


async def test_pass_that_was_broken_off_is_continued_by_the_next(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    month = timedelta(days=30)
    await fill(
        database, [row_of(uuid7_of(NOW - month, n), COMPLETED, NOW - month) for n in range(1_200)]
    )
    faulty = FaultyDatabase(database)
    deletions = itertools.count(1)
    faulty.break_once(Fault.BEFORE, lambda sent: "to" in sent.values and next(deletions) == 2)
    retention = Retention(Store(faulty, now=at(NOW)), Keep())

    with caplog.at_level(logging.INFO, "server_jobs.retention"):
        with pytest.raises(DatabaseUnavailableError):
            await retention.run_pass()
        assert await retention.run_pass() == {COMPLETED: 700}

    assert [record.message for record in caplog.records] == [
        "pruned 500 jobs: 500 completed",
        "pruned 700 jobs: 700 completed",
    ]


# ── a worker ─────────────────────────────────────────────────────────────────────────────────


async def test_worker_prunes_beside_its_work_and_live_jobs_stay(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = asyncio.Event()

    @define_job(name="Wait")
    async def wait(params: Number) -> int:
        await go_on.wait()
        return params.n

    long_ago = datetime.now(UTC) - timedelta(days=60)
    dead = [row_of(f"0-{n}", COMPLETED, long_ago) for n in range(700)]
    dead += [row_of(f"1-{n}", FAILED, long_ago) for n in range(2)]
    await fill(database, [*dead, row_of("2", CANCELLED, long_ago)])
    worker = make_worker(
        database, registry_of(database, wait), prune_interval=0.01, keep_cancelled=None
    )
    running = await wait.later(Number())
    delayed = await wait.later(Number(), delay=3_600)

    with caplog.at_level(logging.INFO, "server_jobs.retention"):
        async with working(worker):

            async def pruned() -> bool:
                return len(await ids(database)) == 3

            await until(pruned, "what is old is gone")
            go_on.set()

    assert await ids(database) == {running, delayed, "2"}
    assert "2 failed" in caplog.text
    assert (await wait.get(running)).status is COMPLETED


class HangingDatabase(FaultyDatabase):
    """Never answers one of the deletions."""

    def __init__(self, database: Database, *, deletion: int) -> None:
        super().__init__(database)
        self.hangs = asyncio.Event()
        self._left = deletion

    async def execute(self, statement: Statement) -> list[DatabaseRow]:
        self._left -= "to" in statement.values
        if self._left == 0:
            self.hangs.set()
            await asyncio.Event().wait()
        return await super().execute(statement)


async def test_worker_stops_in_the_middle_of_a_pass(database: Database) -> None:
    @define_job(name="Never")
    async def never(params: Number) -> None: ...

    long_ago = datetime.now(UTC) - timedelta(days=60)
    await fill(database, [row_of(f"0-{n:04}", COMPLETED, long_ago) for n in range(1_500)])
    hanging = HangingDatabase(database, deletion=3)
    worker = make_worker(hanging, registry_of(hanging, never), prune_interval=0.01)

    async with working(worker):
        await asyncio.wait_for(hanging.hangs.wait(), PATIENCE_SECONDS)

    assert len(await ids(database)) == 500


@pytest.mark.parametrize("seconds", [-1, float("nan"), 101 * 365 * DAY])
def test_keeping_for_no_sensible_time_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="keep_failed="):
        WorkerConfig(keep_failed=seconds)
