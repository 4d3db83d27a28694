"""Rows that another program wrote into tables that take nearly everything, beside good ones."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from uuid6 import uuid7

from server_jobs.backend.upkeep import Chore
from server_jobs.database import Database, connect
from server_jobs.errors import DatabaseUnavailableError, DataRefusedError
from server_jobs.monitoring.monitor import Monitor
from server_jobs.records.attempt_error import INVALID_ROW
from server_jobs.records.outcomes import Completed, Failed, Released
from server_jobs.records.rows import ClaimedJob
from server_jobs.records.status import JobStatus
from server_jobs.schedules import Decision, ScheduleStore
from server_jobs.schedules.scheduler import Scheduler
from server_jobs.sql.tables import tables
from server_jobs.store.retention import Keep, Retention
from server_jobs.store.store import STAGE_LIMIT, Store
from tests.support.databases.old_tables import make_tables_at, run_sql
from tests.support.scene import JOB, claim_of, error, new_job
from tests.support.servers.hrana import TOKEN, HranaServer

NOISE = "".join(str(uuid7()) for _ in range(120))
"""Text of more than 2.7 KB that doesn't compress: no index of PostgreSQL takes it."""


@dataclass(frozen=True)
class Table:
    """A database whose tables take nearly everything, and its URL."""

    url: str
    store: Store

    @property
    def database(self) -> Database:
        return self.store.database

    @property
    def sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    def insert(self, **columns: str) -> str:
        """Insert a job, its columns given as SQL → its id, unless that is given."""
        job_id = str(uuid7())
        given = {"id": f"'{job_id}'", "job_name": f"'{JOB}'", "ready": "true"} | columns
        names, values = ", ".join(given), ", ".join(given.values())
        run_sql(self.url, f"INSERT INTO jobs ({names}) VALUES ({values})")
        return job_id

    def running(self, **columns: str) -> str:
        """Insert a job whose lease has expired, and whose handler hadn't begun."""
        ago = self.ago(60)
        running = {"status": "'running'", "ready": "false", "worker_expires_at": ago}
        return self.insert(**running | {"fence": "1", "attempt_count": "1"} | columns)

    def ago(self, seconds: int) -> str:
        if self.sqlite:
            return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{-seconds} seconds')"
        return f"now() - interval '{seconds} seconds'"


@pytest.fixture
async def table(database_url: str) -> AsyncIterator[Table]:
    make_tables_at("0003", database_url, tables())
    database = connect(database_url)
    yield Table(database_url, Store(database))
    await database.close()


@pytest.fixture
async def served(sqlite_url: str) -> AsyncIterator[Table]:
    """The same, of which a server of libSQL sends no text that isn't UTF-8."""
    make_tables_at("0003", sqlite_url, tables())
    with HranaServer() as server:
        url = server.serve(Path(sqlite_url.removeprefix("sqlite:///")))
        database = connect(f"{url}?authToken={TOKEN}")
        yield Table(sqlite_url, Store(database))
        await database.close()


on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


async def good_jobs(table: Table, count: int = 20) -> list[str]:
    return await table.store.enqueue([new_job(priority=-1) for _ in range(count)])


async def claimed(table: Table) -> list[str]:
    """Claim until nothing is left → ids."""
    jobs: list[ClaimedJob] = []
    while found := await table.store.claim(claim_of(8)):
        jobs += found
    return [job.id for job in jobs]


async def set_aside(table: Table, job_id: str, *told: str) -> None:
    """Check that a job failed by itself, and that a person learns why."""
    record = await table.store.get(job_id)
    assert record.status is JobStatus.FAILED
    (problem,) = record.attempt_errors
    assert problem.type == INVALID_ROW
    for word in told:
        assert word in problem.message
    assert record.error == problem.message


# ── claims ───────────────────────────────────────────────────────────────────────────────────

WRONG_TYPES = {
    "word": ("priority", "'high'", "holds high, which isn't an integer"),
    "fraction": ("max_attempts", "1.5", "holds 1.5, which isn't an integer"),
    "blob": ("correlation_id", "x'00ff'", "which isn't text in UTF-8"),
    "latin-1": ("params", "CAST(x'2263616665e922' AS TEXT)", "which isn't text in UTF-8"),
    "infinity": ("timeout_seconds", "9e999", "holds inf, which isn't a finite number"),
    "last fence": ("fence", "9223372036854775807", "which isn't an integer"),
}


@on_sqlite
@pytest.mark.parametrize("value", WRONG_TYPES)
async def test_value_of_a_wrong_type_fails_its_own_job(table: Table, value: str) -> None:
    column, sql, told = WRONG_TYPES[value]
    bad = table.insert(**{column: sql})
    good = await good_jobs(table)

    assert sorted(await claimed(table)) == good
    await set_aside(table, bad, column, told)

    await table.store.retry(bad)
    assert await claimed(table) == []
    assert (await table.store.get(bad)).status is JobStatus.FAILED


@on_sqlite
async def test_crowd_of_wrong_types_fails_at_one_claim(table: Table) -> None:
    bad = [table.insert(priority="'high'") for _ in range(8)]
    good = await good_jobs(table, 2)

    assert {job.id for job in await table.store.claim(claim_of(10))} == set(good)
    for job_id in bad:
        await set_aside(table, job_id, "column priority holds high")


@on_postgres
@pytest.mark.parametrize(
    ("column", "sql", "told"),
    [
        ("fence", "9223372036854775807", "bigint out of range"),
        ("timeout_seconds", "'NaN'", "holds nan, which isn't a finite number"),
    ],
)
async def test_value_at_the_end_of_its_type_fails_its_own_job(
    table: Table, column: str, sql: str, told: str
) -> None:
    bad = table.insert(**{column: sql})
    good = await good_jobs(table)

    assert sorted(await claimed(table)) == good
    await set_aside(table, bad, told)


async def test_job_whose_count_has_ended_is_claimed_and_fails_for_good(table: Table) -> None:
    job_id = table.insert(attempt_count="2147483647", max_attempts="2147483647")

    (job,) = await table.store.claim(claim_of())
    assert (job.id, job.attempt_count) == (job_id, 2147483647)

    settled = await table.store.settle({job.claim: Failed(error())})
    assert settled[job_id].status is JobStatus.FAILED


@on_postgres
async def test_moments_that_python_has_not_are_read_as_its_first_or_last(table: Table) -> None:
    late = table.insert(created_at="'infinity'", scheduled_for="'20000-01-01'")
    early = table.insert(created_at="'-infinity'", scheduled_for="'0044-03-15 BC'")

    assert set(await claimed(table)) == {late, early}
    records = {record.id: record for record in await table.store.list_jobs()}
    assert (records[late].created_at.year, records[late].scheduled_for.year) == (9999, 9999)
    assert (records[early].created_at.year, records[early].scheduled_for.year) == (1, 1)
    assert {live.count for live in await Monitor(table.database).live()} == {2}


# ── staging ──────────────────────────────────────────────────────────────────────────────────


@on_postgres
async def test_job_that_no_index_takes_is_not_staged_and_stops_no_other(table: Table) -> None:
    bad = table.insert(ready="false", queue=f"'{NOISE}'", scheduled_for=table.ago(60))
    good = table.insert(ready="false", scheduled_for=table.ago(30))

    assert await table.store.stage() == 1
    assert (await table.store.get(good)).ready
    await set_aside(table, bad, "index row size")


async def test_crowd_of_another_queue_does_not_hold_up_a_served_one(table: Table) -> None:
    crowd = [
        f"('{uuid7()}', '{JOB}', 'elsewhere', {table.ago(600)})" for _ in range(STAGE_LIMIT * 3)
    ]
    columns = "id, job_name, queue, scheduled_for"
    run_sql(table.url, f"INSERT INTO jobs ({columns}) VALUES {', '.join(crowd)}")
    job_id = table.insert(ready="false", scheduled_for=table.ago(1))

    assert await table.store.stage(["default", "mail"]) == STAGE_LIMIT + 1
    assert (await table.store.get(job_id)).ready


# ── rescues ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", ["launch_failures", "release_count", "disruptions"])
async def test_count_that_has_ended_stops_no_rescue(table: Table, count: str) -> None:
    bad, good = table.running(**{count: "2147483647"}), table.running()

    rescued = await table.store.rescue()

    assert rescued[good].status is JobStatus.PENDING
    assert bad in rescued


@on_sqlite
async def test_row_that_a_rescue_cannot_work_with_fails_by_itself(table: Table) -> None:
    bad, good = table.running(attempt_count="'many'"), table.running()

    assert set(await table.store.rescue()) == {good}
    await set_aside(table, bad, "column attempt_count holds many")


async def test_list_of_a_hundred_thousand_errors_begins_anew(table: Table) -> None:
    errors = json.dumps([{"message": "x" * 40}] * 100_000)
    job_id = table.running(errors=f"'{errors}'")

    began = time.monotonic()
    await table.store.rescue()

    assert time.monotonic() - began < 1
    (kept,) = (await table.store.get(job_id)).attempt_errors
    assert kept.type == "lease_expired"


async def test_errors_of_a_thousand_levels_can_be_shown(table: Table) -> None:
    deep = "[" * 900 + "]" * 900
    digits = "9" * 5_000
    for errors in (deep, f"[{digits}]"):
        job_id = table.insert(errors=f"'{errors}'")
        assert len((await table.store.get(job_id)).attempt_errors) == 1


# ── rows that the database refuses to change ─────────────────────────────────────────────────


def refuse_changes(table: Table, when: str, of: str = "jobs") -> None:
    """Have a trigger refuse updates where this is so."""
    if table.sqlite:
        run_sql(
            table.url,
            f"CREATE TRIGGER refused BEFORE UPDATE ON {of} WHEN {when}"
            " BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        )
        return
    run_sql(
        table.url,
        "CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$",
    )
    run_sql(
        table.url,
        f"CREATE TRIGGER refused BEFORE UPDATE ON {of} FOR EACH ROW WHEN ({when})"
        " EXECUTE FUNCTION refused()",
    )


def take_changes_again(table: Table) -> None:
    run_sql(table.url, "DROP TRIGGER refused" + ("" if table.sqlite else " ON jobs"))


async def test_trouble_of_all_jobs_fails_none_of_them(table: Table) -> None:
    jobs = await good_jobs(table)
    refuse_changes(table, "NEW.status = 'running'")

    with pytest.raises(DataRefusedError, match=r"20 jobs can't be worked with.*not this one"):
        await table.store.claim(claim_of(8))
    assert {(await table.store.get(job_id)).status for job_id in jobs} == {JobStatus.PENDING}

    take_changes_again(table)
    assert sorted(await claimed(table)) == jobs


async def test_crowd_at_the_head_that_can_be_failed_fails(table: Table) -> None:
    bad = [table.insert(correlation_id="'bad'") for _ in range(15)]
    good = await good_jobs(table)
    refuse_changes(table, "NEW.correlation_id = 'bad' AND NEW.status = 'running'")

    assert sorted(await claimed(table)) == good
    for job_id in bad:
        await set_aside(table, job_id, "not this one")


async def test_crowd_that_can_be_neither_changed_nor_failed_holds_nobody_up(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = [table.insert(correlation_id="'stuck'") for _ in range(15)]
    good = await good_jobs(table)
    refuse_changes(table, "NEW.correlation_id = 'stuck'")

    assert sorted(await claimed(table)) == good
    assert await claimed(table) == []

    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == len(stuck)
    assert {(await table.store.get(job_id)).status for job_id in stuck} == {JobStatus.PENDING}


async def test_staging_goes_past_rows_that_can_be_neither_changed_nor_failed(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(15):
        table.insert(ready="false", correlation_id="'stuck'", scheduled_for=table.ago(60))
    refuse_changes(table, "NEW.correlation_id = 'stuck'")

    for _ in range(3):
        good = table.insert(ready="false", scheduled_for=table.ago(30))
        assert await table.store.stage() == 1
        assert (await table.store.get(good)).ready
    assert len(caplog.records) == 15


async def test_row_that_is_refused_in_a_crowd_does_not_hold_up_a_served_queue(
    table: Table,
) -> None:
    crowd = [f"('{uuid7()}', '{JOB}', 'elsewhere', {table.ago(600)})" for _ in range(300)]
    columns = "id, job_name, queue, scheduled_for"
    run_sql(table.url, f"INSERT INTO jobs ({columns}) VALUES {', '.join(crowd)}")
    table.insert(ready="false", correlation_id="'stuck'", scheduled_for=table.ago(900))
    refuse_changes(table, "NEW.correlation_id = 'stuck'")
    job_id = table.insert(ready="false", queue="'mail'", scheduled_for=table.ago(1))

    assert await table.store.stage(["mail"]) == 99 + 1
    assert (await table.store.get(job_id)).ready


async def test_rescue_goes_past_rows_that_can_be_neither_changed_nor_failed(
    table: Table, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("server_jobs.store.store.RESCUE_LIMIT", 10)
    for _ in range(15):
        table.running(correlation_id="'stuck'", worker_expires_at=table.ago(90))
    good = table.running()
    refuse_changes(table, "NEW.correlation_id = 'stuck'")

    with pytest.raises(DataRefusedError, match="10 jobs can't be worked with"):
        await table.store.rescue()
    assert set(await table.store.rescue()) == {good}
    assert await table.store.rescue() == {}
    assert len(caplog.records) == 5


# ── text that isn't UTF-8, and ids that aren't text ──────────────────────────────────────────


@on_sqlite
@pytest.mark.parametrize("raw", ["CAST(x'636166e9' AS TEXT)", "x'636166e9'"], ids=["text", "blob"])
async def test_id_that_is_not_utf8_can_be_cancelled_and_pruned(table: Table, raw: str) -> None:
    table.insert(id=raw, queue="'elsewhere'")
    good = await good_jobs(table, 3)

    (job_id,) = [job_id for job_id in await table.store.list_ids() if job_id not in good]
    assert await table.store.cancel(job_id) is JobStatus.CANCELLED
    await asyncio.sleep(0.005)  # it must have ended before now, in milliseconds

    await Retention(table.store, Keep(cancelled=0)).run_pass()
    assert await table.store.list_ids() == good[::-1]


@on_sqlite
@pytest.mark.parametrize("raw", ["CAST(x'636166e9' AS TEXT)", "x'636166e9'"], ids=["text", "blob"])
async def test_job_whose_id_is_not_utf8_runs_or_fails_and_is_rescued(
    table: Table, raw: str
) -> None:
    table.running(id=raw)
    good = table.running()

    assert good in await table.store.rescue()
    assert {record.status for record in await table.store.list_jobs()} <= {
        JobStatus.PENDING,
        JobStatus.FAILED,
    }


@pytest.mark.parametrize("raw", ["CAST(x'636166e9' AS TEXT)", "x'636166e9'"], ids=["text", "blob"])
async def test_id_that_a_server_does_not_send_can_be_cancelled_and_pruned(
    served: Table, raw: str
) -> None:
    served.insert(id=raw, queue="'elsewhere'")
    good = await good_jobs(served, 3)

    (job_id,) = [job_id for job_id in await served.store.list_ids() if job_id not in good]
    assert await served.store.cancel(job_id) is JobStatus.CANCELLED
    await asyncio.sleep(0.005)  # it must have ended before now, in milliseconds

    await Retention(served.store, Keep(cancelled=0)).run_pass()
    assert await served.store.list_ids() == good[::-1]


async def test_answers_under_way_are_read_as_they_were_asked_for(served: Table) -> None:
    bad = served.insert(params="CAST(x'2263616665e922' AS TEXT)")
    blob = served.insert(error="x'41ff42'")

    records = await asyncio.gather(*(served.store.get(job_id) for job_id in (bad, blob) * 5))

    for of_bad, of_blob in zip(records[::2], records[1::2], strict=True):
        assert "params" in of_bad.misfits
        assert of_blob.misfits == {"error": "holds b'A\\xffB', which isn't text in UTF-8"}


async def test_claim_whose_answer_a_server_does_not_send_is_found_again(served: Table) -> None:
    bad = served.insert(params="CAST(x'2263616665e922' AS TEXT)")
    good = await good_jobs(served)

    with pytest.raises(DatabaseUnavailableError, match="the statement may have run"):
        await served.store.claim(claim_of(8))
    lost = await served.store.held_by("worker")
    assert len(lost) == 8
    await served.store.settle(dict.fromkeys(lost, Released("its claim went unanswered")))

    assert sorted(await claimed(served)) == good
    await set_aside(served, bad, "column params")


async def test_empty_id_is_pruned(table: Table) -> None:
    table.insert(
        id="''", ready="false", status="'completed'", completed_at=table.ago(3_600), fence="1"
    )

    await Retention(table.store, Keep(completed=0)).run_pass()

    assert await table.store.list_ids() == []


async def test_jobs_to_which_another_table_refers_keep_no_other_from_being_pruned(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    ended = {"ready": "false", "status": "'completed'", "completed_at": table.ago(3_600)}
    kept = [table.insert(**ended) for _ in range(3)]
    for _ in range(5):
        table.insert(**ended)
    run_sql(table.url, "CREATE TABLE invoices (job text REFERENCES jobs (id))")
    for job_id in kept:
        run_sql(table.url, f"INSERT INTO invoices VALUES ('{job_id}')")
    if table.sqlite:
        # SQLite heeds references only where a connection asks for it, so a trigger stands for one.
        run_sql(
            table.url,
            "CREATE TRIGGER referred BEFORE DELETE ON jobs"
            " WHEN EXISTS (SELECT 1 FROM invoices WHERE job = OLD.id)"
            " BEGIN SELECT RAISE(ABORT, 'an invoice refers to it'); END",
        )

    gone = await Retention(table.store, Keep(completed=0)).run_pass()

    assert gone == {JobStatus.COMPLETED: 5}
    assert set(await table.store.list_ids()) == set(kept)

    await Retention(table.store, Keep(completed=0)).run_pass()
    (told,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "3 jobs can't be pruned" in told.getMessage()


# ── schedules ────────────────────────────────────────────────────────────────────────────────


def insert_schedule(table: Table, name: str, **columns: str) -> None:
    given = {
        "id": f"'{uuid7()}'",
        "name": f"'{name}'",
        "job_name": f"'{JOB}'",
        "cron_expression": "'* * * * *'",
        "next_run_at": table.ago(30),
    } | columns
    names, values = ", ".join(given), ", ".join(given.values())
    run_sql(table.url, f"INSERT INTO cron_jobs ({names}) VALUES ({values})")


@on_postgres
@pytest.mark.parametrize(
    "column", ["ends_at", "last_run_at", "created_at", "updated_at", "starts_at", "next_run_at"]
)
@pytest.mark.parametrize("moment", ["infinity", "-infinity", "20000-01-01"])
async def test_infinite_moment_of_a_schedule_stops_no_other(
    table: Table, column: str, moment: str
) -> None:
    insert_schedule(table, "broken", **{column: f"'{moment}'"})
    insert_schedule(table, "good")
    schedules = ScheduleStore(table.database)

    assert (await Scheduler(schedules).tick()).decisions["good"] == Decision.FIRED
    assert (await Scheduler(schedules).tick()).decisions.get("good") is None

    await schedules.remove("broken")
    assert [schedule.name for schedule in await schedules.list_all()] == ["good"]


@on_sqlite
async def test_schedule_with_a_value_of_a_wrong_type_is_broken_and_can_be_removed(
    table: Table,
) -> None:
    insert_schedule(table, "broken", priority="'high'")
    insert_schedule(table, "good")
    schedules = ScheduleStore(table.database)

    decisions = (await Scheduler(schedules).tick()).decisions

    assert decisions == {"broken": Decision.BROKEN, "good": Decision.FIRED}
    note = (await schedules.get("broken")).last_note
    assert note is not None
    assert "column priority holds high, which isn't an integer" in note
    await schedules.remove("broken")


@pytest.mark.parametrize("broken", ["'* * * * *'", "'none'"], ids=["fires", "is-reset"])
async def test_schedule_whose_row_cannot_be_changed_stops_no_other(
    table: Table, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    insert_schedule(table, "first")
    insert_schedule(table, "stuck", cron_expression=broken, next_run_at=table.ago(90))
    insert_schedule(table, "last")
    refuse_changes(table, "NEW.name = 'stuck'", of="cron_jobs")
    scheduler = Scheduler(ScheduleStore(table.database))

    assert (await scheduler.tick()).decisions == {"first": Decision.FIRED, "last": Decision.FIRED}
    assert (await scheduler.tick()).decisions == {}

    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "schedule stuck can't be worked with" in told.getMessage()


async def test_schedule_whose_row_cannot_be_changed_stops_none_that_follows_the_clock(
    table: Table,
) -> None:
    later = table.ago(-7_200)
    for name in ("first", "stuck", "last"):
        insert_schedule(table, name, next_run_at=later, updated_at=later)
    refuse_changes(table, "NEW.name = 'stuck'", of="cron_jobs")
    schedules = ScheduleStore(table.database)

    await Scheduler(schedules).tick()

    notes = {schedule.name: schedule.last_note for schedule in await schedules.list_all()}
    told = "the clock was set back"
    assert notes == {"first": told, "stuck": None, "last": told}


# ── records that are shown ───────────────────────────────────────────────────────────────────


@on_sqlite
async def test_record_has_stand_ins_and_says_what_is_wrong(table: Table) -> None:
    job_id = table.insert(priority="'high'", timeout_seconds="'soon'", error="x'00'")

    record = await table.store.get(job_id)

    assert (record.priority, record.timeout_seconds) == (0, None)
    assert record.misfits == {
        "priority": "holds high, which isn't an integer",
        "timeout_seconds": "holds soon, which isn't a finite number",
        "error": "holds b'\\x00', which isn't text in UTF-8",
    }
    (summary,) = await table.store.summaries([job_id])
    assert summary.error == "\0"


async def test_ordinary_record_has_no_misfits(table: Table) -> None:
    (job_id,) = await good_jobs(table, 1)
    (job,) = await table.store.claim(claim_of())
    await table.store.settle({job.claim: Completed("null")})

    assert (await table.store.get(job_id)).misfits == {}


# ── parts of the upkeep ──────────────────────────────────────────────────────────────────────


async def test_part_that_fails_rests_and_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    tries: list[float] = []

    async def work() -> None:
        tries.append(now)
        raise DataRefusedError("this row")

    chore = Chore("rescuing", work)
    with caplog.at_level(logging.WARNING, "server_jobs.worker"):
        for second in range(60):
            now = 1_000.0 + second
            await chore.do()

    assert [moment - 1_000 for moment in tries] == [0, 2, 6, 14, 30]
    assert len(caplog.records) == len(tries)
    assert caplog.messages[0] == "rescuing has to wait: this row"


async def test_database_that_is_away_is_asked_again_and_told_of_less_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        raise DatabaseUnavailableError("away")

    chore = Chore("staging", work)
    for _ in range(5):
        await chore.do()

    assert tries == 5
    assert len(caplog.records) == 1


async def test_bug_in_one_part_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise TypeError("a bug")

    await Chore("staging", work).do()

    (record,) = caplog.records
    assert record.exc_info is not None
    await asyncio.sleep(0)
