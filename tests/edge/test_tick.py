"""Ticks: what one does, what it leaves, and what the next one finds."""

import asyncio
from collections import Counter
from dataclasses import dataclass

import pytest

from server_jobs import JobContext, JobStatus, connect
from server_jobs.database import Database
from server_jobs.errors import MigrationRequiredError
from tests.support.edge_worker import (
    EXPIRE,
    Doubled,
    Params,
    PlatformLimit,
    double,
    lines,
    registry_of,
    sql,
    statuses,
    tick,
)


@dataclass
class Tries:
    """A handler that ends by the platform's hand, or never, until it is healed."""

    healed: bool = False
    begun: int = 0


async def test_tick_executes_refills_and_ends_when_the_queue_is_spent(database: Database) -> None:
    registry = registry_of(double).bind(database)
    await registry.get("double").later_many([{"number": n} for n in range(30)])

    done = await tick(database, registry)

    assert (done.claimed, done.completed, done.ended) == (30, 30, "spent")
    assert await statuses(database) == {JobStatus.COMPLETED: 30}
    # Progress, completion and the next claim of four jobs are three statements of one batch.
    assert done.queries <= 10 + 3 * 30 / 4


async def test_no_more_handlers_at_once_than_configured(database: Database) -> None:
    running, most = 0, 0

    async def work(params: Params) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    registry = registry_of(work).bind(database)
    await registry.get("work").later_many([{}] * 12)

    await tick(database, registry, concurrency=3)

    assert most == 3


async def test_jobs_that_handlers_enqueue_are_executed_in_the_same_tick(database: Database) -> None:
    async def first(params: Params, context: object) -> None:
        await registry.get("double").later({"number": 1})

    registry = registry_of(first, double).bind(database)
    await registry.get("first").later({})

    assert (await tick(database, registry)).completed == 2


async def test_other_queues_and_other_backends_jobs_are_left(database: Database) -> None:
    registry = registry_of(double).bind(database)
    await registry.get("double").later({}, queue="default")

    assert (await tick(database, registry)).claimed == 0
    assert await statuses(database) == {JobStatus.PENDING: 1}


async def test_what_the_budget_cuts_off_is_given_back_with_its_attempt(database: Database) -> None:
    async def endless(params: Params) -> None:
        await asyncio.Event().wait()

    registry = registry_of(endless).bind(database)
    job_id = await registry.get("endless").later({})

    done = await tick(database, registry, wall_budget=2)

    assert (done.released, done.ended, done.unsettled) == (1, "time", 0)
    job = await registry.get("endless").get(job_id)
    assert (job.status, job.attempt_count, job.release_count) == (JobStatus.PENDING, 0, 1)


async def test_job_that_never_fits_fails_after_max_releases(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    async def endless(params: Params) -> None:
        await asyncio.Event().wait()

    registry = registry_of(endless).bind(database)
    job_id = await registry.get("endless").later({})

    ticks = [await tick(database, registry, wall_budget=2, max_releases=1) for _ in range(2)]

    job = await registry.get("endless").get(job_id)
    assert job.status is JobStatus.FAILED
    assert "too long for this backend" in (job.error or "")
    # What became of it is told, not what was meant.
    assert [(each.released, each.failed) for each in ticks] == [(1, 0), (0, 1)]
    assert [line["status"] for line in lines(capsys.readouterr().out, "job")] == [
        "released",
        "failed",
    ]


async def test_late_job_that_the_budget_cuts_off_is_given_back_uncounted(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    async def short(params: Params) -> None:
        await asyncio.sleep(0.6)

    async def endless(params: Params) -> None:
        await asyncio.Event().wait()

    registry = registry_of(short, endless).bind(database)
    await registry.get("short").later({}, priority=1)
    late = await registry.get("endless").later({})

    done = await tick(database, registry, wall_budget=2, concurrency=1, max_releases=0)

    assert (done.completed, done.released, done.failed) == (1, 1, 0)
    job = await registry.get("endless").get(late)
    assert (job.status, job.attempt_count, job.release_count) == (JobStatus.PENDING, 0, 0)
    statuses_told = [line["status"] for line in lines(capsys.readouterr().out, "job")]
    assert statuses_told == ["completed", "released"]


async def test_failure_that_became_a_cancellation_is_told_so(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    async def stubborn(params: Params, context: JobContext) -> None:
        await registry.get("stubborn").cancel(context.job_id or "")
        raise ValueError("nevertheless")

    registry = registry_of(stubborn).bind(database)
    await registry.get("stubborn").later({})

    done = await tick(database, registry)

    assert (done.cancelled, done.retrying) == (1, 0)
    (line,) = lines(capsys.readouterr().out, "job")
    assert (line["status"], line["error"]) == ("cancelled", "ValueError")


async def test_platforms_base_exception_passes_and_a_later_tick_rescues(database: Database) -> None:
    tries = Tries()

    async def heavy(params: Params) -> None:
        tries.begun += 1
        if not tries.healed:
            raise PlatformLimit

    registry = registry_of(heavy).bind(database)
    await registry.get("heavy").later_many([{}] * 3)

    with pytest.raises(PlatformLimit):
        await tick(database, registry)
    left = await statuses(database)
    assert left[JobStatus.RUNNING] == 3  # nobody wrote anything, nor keeps the leases

    tries.healed = True
    await sql(database, EXPIRE)
    done = await tick(database, registry)
    await sql(database, "UPDATE jobs SET scheduled_for = '2020-01-01 00:00:00'")
    again = await tick(database, registry)
    assert done.rescued == 3
    assert done.completed + again.completed == 3
    assert await statuses(database) == {JobStatus.COMPLETED: 3}


async def test_eight_ticks_at_once_complete_500_jobs_once_each(url: str) -> None:
    executed: Counter[int] = Counter()

    async def count(params: Params) -> None:
        executed[params.number] += 1

    registry = registry_of(count)
    databases = [connect(url) for _ in range(8)]
    registry.bind(databases[0])
    await registry.get("count").later_many([{"number": n} for n in range(500)])

    ticks = await asyncio.gather(*(tick(each, registry) for each in databases))

    assert executed == Counter(range(500))
    assert sum(done.completed for done in ticks) == 500
    for each in databases:
        await each.close()


async def test_declared_schedule_is_written_and_fires(database: Database) -> None:
    registry = registry_of(double).bind(database)
    registry.schedule(registry.get("double"), "* * * * *", overlap="skip")
    assert (await tick(database, registry)).fired == 0
    await sql(database, "UPDATE cron_jobs SET next_run_at = datetime('now', '-1 minute')")

    done = await tick(database, registry)

    assert (done.fired, done.completed) == (1, 1)


@pytest.mark.parametrize(
    ("options", "ended"),
    [({"max_queries": 12}, "queries"), ({"max_jobs_per_tick": 6}, "jobs")],
)
async def test_tick_stops_claiming_and_settles_what_it_has(
    database: Database, options: dict[str, int], ended: str
) -> None:
    registry = registry_of(double).bind(database)
    await registry.get("double").later_many([{}] * 40)

    done = await tick(database, registry, **options)

    assert done.ended == ended
    assert 0 < done.completed == done.claimed < 40
    assert done.queries <= options.get("max_queries", 100) + 4
    assert (await statuses(database))[JobStatus.RUNNING] == 0


async def test_tables_that_are_missing_end_the_tick_with_what_to_do() -> None:
    database = connect("sqlite://")

    with pytest.raises(MigrationRequiredError, match="migrate"):
        await tick(database, registry_of(double))

    await database.close()


async def test_lines_tell_names_and_ids_and_no_params(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    async def leaky(params: Params) -> Doubled:
        raise ValueError(f"it was {params.secret}")

    registry = registry_of(leaky, double, max_attempts=1).bind(database)
    failing = await registry.get("leaky").later({"secret": "hunter2"})
    fine = await registry.get("double").later({"number": 21, "secret": "hunter2"})

    await tick(database, registry)

    output = capsys.readouterr().out
    assert "hunter2" not in output
    assert "42" not in [word for line in lines(output, "job") for word in map(str, line.values())]
    jobs = {line["job_id"]: line for line in lines(output, "job")}
    assert jobs[failing]["status"] == "failed"
    assert jobs[failing]["error"] == "ValueError"
    assert jobs[fine].keys() == {
        "event", "job_name", "job_id", "queue", "attempt", "status", "duration_ms",
    }  # fmt: skip
    (summary,) = lines(output, "tick")
    assert (summary["claimed"], summary["completed"], summary["failed"]) == (2, 1, 1)
