"""Databases of an older release, brought to this one where they are, with what is in them."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

import psycopg
import pytest

from server_jobs.database import Database, connect
from server_jobs.errors import DatabaseError, MigrationRequiredError
from server_jobs.migrate import migrate
from server_jobs.records.outcomes import Completed
from server_jobs.records.rows import Claim
from server_jobs.records.status import JobStatus
from server_jobs.sql.tables import SCHEMA_VERSION, Tables, tables
from server_jobs.store.store import Store
from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture
from tests.support.databases.old_tables import Rows, make_tables_at, read_sql, run_sql
from tests.support.scene import claim_of, new_job

LANDED = {
    "0001.sqlite": "a5c021c20a845826cf4c7e29ab26d4de5d36399ac12bd122ccf201fd68f31023",
    "0001.postgresql": "aa25291fcfcbde9396f6a44b94772f8c66012fb5bbf3e8f9767889f5d9f84161",
}


@pytest.mark.parametrize(("step", "digest"), LANDED.items(), ids=LANDED.keys())
def test_step_that_has_landed_is_frozen(step: str, digest: str) -> None:
    # Changing it would change new databases only: what is missing is another step's business.
    text = (files("server_jobs.migrations") / "sql" / f"{step}.sql").read_bytes()

    assert sha256(text).hexdigest() == digest


@dataclass
class Place:
    """A database at an older step, and where in it the tables are."""

    url: str
    tables: Tables

    @property
    def names(self) -> dict[str, str]:
        schema = {"schema": self.tables.schema} if self.tables.schema else {}
        return schema | {"table_prefix": self.tables.prefix}

    def table(self, name: str) -> str:
        schema = f'"{self.tables.schema}".' if self.tables.schema else ""
        return f"{schema}{self.tables.prefix}{name}"

    def rows(self, table: str, columns: str) -> Rows:
        return read_sql(self.url, f"SELECT {columns} FROM {self.table(table)} ORDER BY id")

    def version(self) -> Rows:
        query = f"SELECT version, oldest_code FROM {self.table('server_jobs_schema')}"
        return read_sql(self.url, query)

    def migrate(self) -> list[str]:
        return migrate(self.url, **self.names)

    def connect(self) -> Database:
        return connect(self.url, **self.names)  # type: ignore[arg-type]


PLACES = {
    "sqlite": ("sqlite", None, ""),
    "sqlite-prefix": ("sqlite", None, "shop_"),
    "postgres": ("postgres", None, ""),
    "postgres-prefix": ("postgres", None, "shop_"),
    "postgres-schema": ("postgres", "Shop", ""),
    "postgres-schema-prefix": ("postgres", "Shop", "p" * 30),
}


@pytest.fixture(params=PLACES.values(), ids=list(PLACES))
def old(request: pytest.FixtureRequest) -> Place:
    """Tables of step 0001, in each place where they may be."""
    kind, schema, prefix = request.param
    place = Place(request.getfixturevalue(f"{kind}_url"), tables(schema, prefix))
    make_tables_at("0001", place.url, place.tables)
    return place


# The columns of step 0001, in its order.
JOBS = (
    "id, job_name, queue, priority, params, result, status, ready, progress, progress_message,"
    " error, errors, attempt_count, max_attempts, retry_policy, scheduled_for, timeout_seconds,"
    " fence, worker_id, worker_started_at, worker_expires_at, handler_started_at,"
    " cancel_requested_at, launch_failures, release_count, disruptions, unique_key,"
    " correlation_id, cron_job_id, cron_fire_at, runtime, created_at, updated_at, completed_at"
)
CRON_JOBS = (
    "id, name, job_name, cron_expression, time_zone, params, queue, priority, enabled, overlap,"
    " catchup, jitter_seconds, starts_at, ends_at, max_attempts, timeout_seconds, retry_policy,"
    " runtime, last_run_at, next_run_at, last_job_id, fire_token, managed_by, created_at,"
    " updated_at"
)
ADDED = "catchup_window_seconds, catchup_limit, last_decision, last_note"


def jobs_of_old_code(place: Place, run: str) -> str:
    """SQL that inserts a job of every status, a scheduled one among them, as code of step 0001."""
    early, late = "'2025-03-01 10:00:00.000001'", "'2099-03-01 10:00:00.000001'"
    in_general = {"job_name": "'Greet'", "params": """'{"name": "Ada"}'""", "fence": "7"}
    ended = {"completed_at": early, "attempt_count": "1", "worker_id": "'gone'"}
    failure = """'[{"attempt": 1, "message": "boom"}]'"""
    jobs = {
        "due": {"ready": "true", "priority": "3", "unique_key": f"'{run}'", "fence": "0"},
        "later": {"scheduled_for": late, "correlation_id": "'order-1'", "runtime": """'{}'"""},
        "running": {
            "status": "'running'",
            "attempt_count": "1",
            "worker_id": "'worker'",
            "worker_started_at": early,
            "handler_started_at": early,
            "worker_expires_at": late,
            "progress": "40",
            "progress_message": "'halfway'",
        },
        "completed": ended | {"status": "'completed'", "result": """'{"sent": 3}'"""},
        "failed": ended | {"status": "'failed'", "error": "'boom'", "errors": failure},
        "cancelled": ended | {"status": "'cancelled'", "cancel_requested_at": early},
        "fired": {"scheduled_for": late, "cron_job_id": f"'{run}-on'", "cron_fire_at": early},
    }
    return "".join(
        insert(place.table("jobs"), in_general | {"id": f"'{run}-{name}'"} | job)
        for name, job in jobs.items()
    )


def schedules_of_old_code(place: Place, run: str) -> str:
    """SQL that inserts an enabled schedule and a disabled one, as code of step 0001 could."""
    schedule = {"job_name": "'Greet'", "cron_expression": "'0 9 * * 1-5'"}
    schedules = {
        "on": {"time_zone": "'Europe/Zurich'", "next_run_at": "'2099-03-01 10:00:00.000001'"},
        "off": {"enabled": "false", "overlap": "'skip'", "catchup": "'all'", "priority": "5"},
    }
    return "".join(
        insert(
            place.table("cron_jobs"),
            schedule | {"id": f"'{run}-{name}'", "name": f"'{run} {name}'"} | values,
        )
        for name, values in schedules.items()
    )


def insert(table: str, values: dict[str, str]) -> str:
    return f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())});\n"


def fill(place: Place, run: str) -> None:
    run_sql(place.url, jobs_of_old_code(place, run) + schedules_of_old_code(place, run))


@contextmanager
def code_of_schema_1() -> Iterator[None]:
    """Judge tables as the release did whose own steps ended with 0001."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server_jobs.store.reader.SCHEMA_VERSION", 1)
        patch.setattr("server_jobs.store.reader.OLDEST_SCHEMA", 1)
        yield


def test_rows_are_what_they_were(old: Place) -> None:
    fill(old, "before")
    jobs, schedules = old.rows("jobs", JOBS), old.rows("cron_jobs", CRON_JOBS)
    assert {row[6] for row in jobs} == set(JobStatus)
    assert len(schedules) == 2

    assert old.migrate() == ["0002", "0003", "0004"]

    assert old.rows("jobs", JOBS) == jobs
    assert old.rows("cron_jobs", CRON_JOBS) == schedules
    assert old.rows("cron_jobs", ADDED) == [(86400.0, 100, None, None)] * 2
    assert old.migrate() == []


async def test_jobs_go_on_where_they_stood(old: Place) -> None:
    fill(old, "before")
    old.migrate()
    database = old.connect()
    try:
        store = Store(database)
        await store.check_schema()
        (due,) = await store.claim(claim_of(9))
        settled = await store.settle(
            {due.claim: Completed("1"), Claim("before-running", 7): Completed("2")}
        )
    finally:
        await database.close()

    assert due.id == "before-due"
    assert {job_id: change.status for job_id, change in settled.items()} == {
        "before-due": JobStatus.COMPLETED,
        "before-running": JobStatus.COMPLETED,
    }


async def test_old_code_goes_on_across_the_upgrade(old: Place) -> None:
    database = old.connect()
    try:
        store = Store(database)
        # As often as psycopg needs to prepare statements: their plans outlive the upgrade.
        for _ in range(6):
            await complete_one(store)
        old.migrate()
        await complete_one(store)
        with code_of_schema_1():
            await store.check_schema()
    finally:
        await database.close()

    assert old.version() == [(SCHEMA_VERSION, 1)]
    # Whatever it writes is still taken.
    fill(old, "after")


async def complete_one(store: Store) -> None:
    (job_id,) = await store.enqueue([new_job()])
    (job,) = await store.claim(claim_of())
    settled = await store.settle({job.claim: Completed("1")})
    assert settled[job_id].status is JobStatus.COMPLETED


async def test_new_code_asks_for_the_upgrade(old: Place) -> None:
    database = old.connect()
    try:
        with code_of_schema_1():
            await Store(database).check_schema()
        with pytest.raises(MigrationRequiredError, match=r"version 1 .*`server-jobs migrate`"):
            await Store(database).check_schema()
        old.migrate()
        await Store(database).check_schema()
    finally:
        await database.close()


@pytest.mark.usefixtures("process_state")
@pytest.mark.parametrize("command", [("worker", "--drain"), ("list",), ("doctor",)], ids=" ".join)
def test_command_asks_for_the_upgrade(old: Place, command: tuple[str, ...]) -> None:
    cli = Cli(app="tests.support.cli_app:registry", database_url=old.url, **old.names)

    refused = cli(*command)
    upgraded = cli.ok("migrate")

    assert refused.exit_code == 1
    assert "server-jobs migrate" in refused.output
    assert "the tables are at version 1 " in refused.output
    assert upgraded.splitlines()[:2] == ["applied 0002", "applied 0003"]
    # What else the doctor finds with a server made for tests is beside the point.
    assert "server-jobs migrate" not in cli(*command).output


def test_upgrade_that_fails_halfway_leaves_everything_as_it_was(old: Place) -> None:
    fill(old, "before")
    # Somebody has taken the name of what the step makes last.
    taken = f"{old.tables.prefix}jobs_cron_live"
    run_sql(old.url, f"CREATE INDEX {taken} ON {old.table('jobs')} (created_at)")

    with pytest.raises(DatabaseError, match="already exists"):
        old.migrate()

    assert old.version() == [(1, 1)]
    with pytest.raises(
        (sqlite3.OperationalError, psycopg.errors.UndefinedColumn), match="catchup_window_seconds"
    ):
        old.rows("cron_jobs", ADDED)

    schema = f'"{old.tables.schema}".' if old.tables.schema else ""
    run_sql(old.url, f"DROP INDEX {schema}{taken}")
    assert old.migrate() == ["0002", "0003", "0004"]
    assert old.version() == [(SCHEMA_VERSION, 1)]
