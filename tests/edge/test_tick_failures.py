"""Ticks in which something breaks: what ended is settled all the same, or left to the rescue."""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence

import pytest

from server_jobs import JobStatus, PermanentError
from server_jobs.database import Database
from server_jobs.errors import DatabaseUnavailableError, MigrationRequiredError
from server_jobs.execution.execution import Execution
from server_jobs.records.requests import ClaimRequest
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store
from tests.support.databases.faulty import FaultyDatabase, claims, settles
from tests.support.databases.scripted import Incident, Mishap, Point, ScriptedDatabase
from tests.support.databases.silent import SilentDatabase
from tests.support.edge_worker import (
    EXPIRE,
    Params,
    PlatformLimit,
    backend_of,
    double,
    registry_of,
    sql,
    statuses,
    tick,
)

REFUSE_SCHEDULES = (
    "CREATE TRIGGER refusal BEFORE INSERT ON cron_jobs BEGIN SELECT RAISE(ABORT, 'not now'); END"
)


@pytest.fixture
def faulty(database: Database) -> FaultyDatabase:
    return FaultyDatabase(database)


async def endless(params: Params) -> None:
    await asyncio.Event().wait()


# ── errors ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [MigrationRequiredError("dropped"), RuntimeError("a bug")])
async def test_error_is_raised_once_what_has_ended_is_settled(
    database: Database, faulty: FaultyDatabase, error: Exception
) -> None:
    registry = registry_of(double, endless).bind(database)
    await registry.get("double").later({})
    given_back = await registry.get("endless").later({})

    def plan(statements: Sequence[Statement]) -> Exception | None:
        """Fail the commit that settles the first job and claims the next."""
        if not (any(map(settles, statements)) and any(map(claims, statements))):
            return None
        faulty.plan = lambda statements: None
        return error

    faulty.plan = plan
    backend = backend_of(faulty, registry)
    with pytest.raises(type(error), match=str(error)):
        await backend.tick()

    assert faulty.faults == 1
    assert await statuses(database) == {JobStatus.COMPLETED: 1, JobStatus.PENDING: 1}
    assert (await registry.get("endless").get(given_back)).attempt_count == 0
    summary = backend.summary
    assert (summary.ended, summary.unsettled) == (type(error).__name__, 0)
    assert (summary.completed, summary.released) == (1, 1)


async def test_step_of_maintenance_that_fails_stops_no_other(database: Database) -> None:
    registry = registry_of(double).bind(database)
    registry.schedule(registry.get("double"), "* * * * *")
    await tick(database, registry)
    await sql(database, "UPDATE cron_jobs SET next_run_at = datetime('now', '-1 minute')")
    await sql(database, REFUSE_SCHEDULES)
    registry.schedule(registry.get("double"), "0 9 * * *", name="another")
    backend = backend_of(database, registry)

    done = await backend.tick()

    assert not backend.maintenance.declared
    assert 0 < done.fired == done.completed


async def test_stage_that_fails_stops_no_rescue(database: Database) -> None:
    registry = registry_of(double).bind(database)
    await registry.get("double").later({})
    await Store(database).claim(ClaimRequest("edge", None, 1, "another", 60))
    await sql(database, EXPIRE)
    scripted = ScriptedDatabase(database, [Incident(Point.STAGE, Mishap.REFUSED)])

    done = await tick(scripted, registry)

    assert len(scripted.happened) == 1
    assert (done.staged, done.rescued) == (0, 1)


async def test_claim_that_committed_late_is_given_back_at_the_end(database: Database) -> None:
    registry = registry_of(double).bind(database)
    job_id = await registry.get("double").later({})
    scripted = ScriptedDatabase(database, [Incident(Point.CLAIM, Mishap.LATE)])

    await tick(scripted, registry)

    await scripted.finish()
    job = await registry.get("double").get(job_id)
    assert (job.status, job.attempt_count) == (JobStatus.PENDING, 0)


# ── the platform's limit ─────────────────────────────────────────────────────────────────────


async def test_limit_that_is_met_while_winding_down_passes_through(database: Database) -> None:
    async def heavy(params: Params) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise PlatformLimit from None

    registry = registry_of(heavy).bind(database)
    await registry.get("heavy").later({})
    backend = backend_of(database, registry, wall_budget=2)

    with pytest.raises(PlatformLimit):
        await backend.tick()

    assert (backend.summary.ended, backend.summary.unsettled) == ("PlatformLimit", 1)
    assert await statuses(database) == {JobStatus.RUNNING: 1}


async def test_limit_that_the_lease_keeper_meets_ends_the_tick_at_once(
    database: Database, faulty: FaultyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server_jobs_cloudflare.backend.BEAT_SECONDS", 0.05)
    registry = registry_of(endless).bind(database)
    await registry.get("endless").later({})
    backend = backend_of(faulty, registry)
    calls = 0

    def plan(statements: Sequence[Statement]) -> None:
        nonlocal calls
        if asyncio.current_task() is backend.leases.task:
            calls += 1
            raise PlatformLimit

    faulty.plan = plan
    began = time.monotonic()
    with pytest.raises(PlatformLimit):
        await backend.tick()

    assert calls == 1
    assert time.monotonic() - began < 10  # of fifty
    assert await statuses(database) == {JobStatus.RUNNING: 1}


async def test_limit_that_a_handler_meets_is_not_held_up_by_the_database(
    database: Database,
) -> None:
    async def heavy(params: Params) -> None:
        await asyncio.sleep(0.1)
        raise PlatformLimit

    registry = registry_of(double, heavy).bind(database)
    await registry.get("double").later({})
    await registry.get("heavy").later({})
    began = time.monotonic()

    with pytest.raises(PlatformLimit):
        await tick(SilentDatabase(database, settles), registry)

    assert time.monotonic() - began < 10  # of fifty


async def test_limit_that_a_task_of_a_handler_meets_passes_through(database: Database) -> None:
    async def limited() -> None:
        await asyncio.sleep(0.01)
        raise PlatformLimit

    async def heavy(params: Params) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(limited())

    registry = registry_of(heavy).bind(database)
    await registry.get("heavy").later({})

    with pytest.raises(BaseExceptionGroup) as caught:
        await tick(database, registry)

    assert caught.group_contains(PlatformLimit)
    assert await statuses(database) == {JobStatus.RUNNING: 1}


async def test_what_only_a_handler_raises_fails_its_attempt_and_no_tick(
    database: Database,
) -> None:
    async def exits(params: Params) -> None:
        sys.exit(0)

    async def refuses(params: Params) -> None:
        raise ExceptionGroup("group", [PermanentError("never"), ValueError("a")])

    registry = registry_of(double, exits, refuses).bind(database)
    ids = [await registry.get(name).later({}) for name in ("exits", "refuses")]
    await registry.get("double").later({})

    summary = await tick(database, registry)

    assert (summary.completed, summary.failed, summary.retrying) == (1, 1, 1)
    store = Store(database)
    errors = [(await store.get(job_id)).error for job_id in ids]
    assert errors[0] is not None
    assert errors[0].startswith("the handler called sys.exit(0)")
    assert errors[1] == "never"


async def test_bug_of_ours_fails_the_attempt_before_the_tick_raises_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(self: Execution) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Execution, "run", run)
    registry = registry_of(double).bind(database)
    job_id = await registry.get("double").later({})
    backend = backend_of(database, registry)

    with pytest.raises(RuntimeError, match="a bug"):
        await backend.tick()

    record = await Store(database).get(job_id)
    assert (record.status, record.error) == (JobStatus.PENDING, "a bug")
    assert (backend.summary.retrying, backend.summary.unsettled) == (1, 0)


# ── a database that doesn't answer ───────────────────────────────────────────────────────────


@pytest.fixture
def short_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server_jobs_cloudflare.backend.LAST_MOMENT_SECONDS", 0.3)


@pytest.mark.usefixtures("short_end")
@pytest.mark.parametrize("silent", [claims, settles])
async def test_tick_waits_for_no_answer_beyond_its_budget(
    database: Database, silent: Callable[[Statement], bool]
) -> None:
    registry = registry_of(double).bind(database)
    await registry.get("double").later({})

    async with asyncio.timeout(10):
        done = await tick(SilentDatabase(database, silent), registry, wall_budget=2)

    assert done.ended == "time"
    assert done.unsettled == (1 if silent is settles else 0)


@pytest.mark.usefixtures("short_end")
async def test_tick_without_any_answer_says_so(database: Database) -> None:
    silent = SilentDatabase(database, lambda statement: True)

    async with asyncio.timeout(10):
        with pytest.raises(DatabaseUnavailableError, match="no answer"):
            await tick(silent, registry_of(double), wall_budget=0.3)


@pytest.mark.usefixtures("short_end")
async def test_lease_keeper_that_gets_no_answer_does_not_hold_up_the_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server_jobs_cloudflare.backend.BEAT_SECONDS", 0.05)
    registry = registry_of(endless).bind(database)
    await registry.get("endless").later({})

    def keepers(statement: Statement) -> bool:
        task = asyncio.current_task()
        return task is not None and task.get_name() == "leases"

    backend = backend_of(SilentDatabase(database, keepers), registry, wall_budget=2)

    async with asyncio.timeout(10):
        done = await backend.tick()

    assert (done.released, done.unsettled) == (1, 0)
