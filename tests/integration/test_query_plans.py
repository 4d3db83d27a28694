"""The indexes that statements are meant to use, read from the databases' own plans.

The tables are filled with what slows a careless query down: much that has ended, much that isn't
due, and urgent work in other queues.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.base import Executable

from server_jobs.database.compiled import StatementCompiler
from server_jobs.launches.statements import LaunchStatements
from server_jobs.migrate import migrate
from server_jobs.monitoring.statements import MonitoringStatements
from server_jobs.records.requests import ClaimRequest, JobFilter, Prunable
from server_jobs.records.status import JobStatus
from server_jobs.schedules.plan import Fire, FireTime, Reset
from server_jobs.sql.statement import Statement
from server_jobs.sql.tables import tables
from server_jobs.store.statements.maintain import ENDS
from tests.support.databases.statements import AllScheduleStatements, AllStatements
from tests.support.servers.postgres import temporary_database

FINISHED, FUTURE, ELSEWHERE, HERE, RUNNING = 20_000, 5_000, 5_000, 200, 300

ID_IN_THE_MIDDLE, LAST_OF_ITS_STRETCH = f"{10_000:036}", f"{10_500:036}"

OLD = Prunable(dict.fromkeys(ENDS, datetime.now(UTC)), whenever=True)

COLUMNS = ", ".join(
    [
        "id",
        "job_name",
        "queue",
        "priority",
        "status",
        "ready",
        "scheduled_for",
        "completed_at",
        "fence",
        "attempt_count",
        "worker_id",
        "worker_expires_at",
        "handler_started_at",
        "cancel_requested_at",
        "unique_key",
        "cron_job_id",
    ]
)

SCHEDULES, DUE = 10_000, 100

SCHEDULE_COLUMNS = "id, name, job_name, cron_expression, enabled, overlap, next_run_at"


def filling() -> Iterator[tuple[Any, ...]]:
    """Rows of ``COLUMNS``; moments are datetimes."""
    now = datetime.now(UTC)
    past, future = now - timedelta(days=1), now + timedelta(days=1)
    number = 0

    def row(status: str, *, queue: str = "default", priority: int = 0, **given: Any) -> Any:
        nonlocal number
        number += 1
        return (
            f"{number:036}",
            "Greet",
            queue,
            priority,
            status,
            given.get("ready", False),
            given.get("scheduled_for", past + timedelta(milliseconds=number)),
            given.get("completed_at"),
            given.get("fence", 0),
            given.get("fence", 0),  # as many attempts as claims
            given.get("worker_id"),
            given.get("expires_at"),
            given.get("started_at"),
            given.get("cancel_at"),
            f"key-{number}" if number % 2 else None,
            f"{number % SCHEDULES:036}" if number % 3 else None,
        )

    for _ in range(FINISHED):
        yield row("completed", completed_at=past, fence=1, worker_id="worker-1", started_at=past)
    for _ in range(FUTURE):
        yield row("pending", priority=9, scheduled_for=future + timedelta(seconds=number))
    for _ in range(ELSEWHERE):
        yield row("pending", ready=True, queue="elsewhere", priority=9)
    for _ in range(HERE):
        yield row("pending", ready=True, priority=number % 3)
    for n in range(RUNNING):
        yield row(
            "running",
            fence=1,
            worker_id=f"worker-{n % 10}",
            expires_at=now + timedelta(minutes=5 if n % 20 else -5),
            started_at=past,
            cancel_at=now if n % 50 == 0 else None,
        )


def schedules() -> Iterator[tuple[Any, ...]]:
    """Rows of ``SCHEDULE_COLUMNS``: few that are due, many that fire soon or never again."""
    now = datetime.now(UTC)
    for number in range(SCHEDULES):
        late = timedelta(minutes=1 if number < DUE else -number)
        overlap = ("allow", "skip", "queue", "replace")[number % 4]
        enabled = number % 10 != 0
        yield f"{number:036}", f"s-{number}", "Greet", "0 * * * *", enabled, overlap, now - late


@dataclass(frozen=True)
class Plan:
    """What a database says it will do: the indexes it reads, and what it should not need."""

    indexes: frozenset[str]
    sorts: bool
    scans_all_jobs: bool
    scans_all_schedules: bool
    text: str


class Explainer(Protocol):
    """Reads the plan of a statement in one database."""

    dialect: Dialect

    def explain(self, shape: Executable, values: Mapping[str, Any]) -> Plan: ...


class SqliteExplainer:
    dialect: Dialect = SQLiteDialect(paramstyle="qmark")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._compile = StatementCompiler(self.dialect)

    def explain(self, shape: Executable, values: Mapping[str, Any]) -> Plan:
        compiled, parameters = self._compile.bind(Statement(shape, values))
        rows = self._connection.execute(f"EXPLAIN QUERY PLAN {compiled.sql}", parameters)
        steps = [detail for *_, detail in rows]
        used = (step.partition(" INDEX ")[2].split(" ")[0] for step in steps if " INDEX " in step)
        return Plan(
            indexes=frozenset(used),
            sorts=any("TEMP B-TREE" in step for step in steps),
            scans_all_jobs=any(
                step.startswith(("SCAN jobs", "SCAN candidate")) and " INDEX " not in step
                for step in steps
            ),
            scans_all_schedules=any(
                step.startswith("SCAN cron_jobs") and " INDEX " not in step for step in steps
            ),
            text="\n".join(steps),
        )


class PostgresExplainer:
    """``mode`` chooses the plan for these very values, or the one for any, which is cached."""

    dialect: Dialect = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

    def __init__(self, connection: psycopg.Connection[Any], mode: str) -> None:
        self._connection = connection
        self._compile = StatementCompiler(self.dialect)
        connection.execute(f"SET plan_cache_mode = {mode}")

    def explain(self, shape: Executable, values: Mapping[str, Any]) -> Plan:
        compiled, parameters = self._compile.bind(Statement(shape, values))
        self._connection.execute(f"PREPARE explained AS {compiled.sql}")
        arguments = sql.SQL(", ").join(map(sql.Literal, parameters))
        execute = sql.SQL("EXECUTE explained({})" if parameters else "EXECUTE explained")
        explained = self._connection.execute(
            sql.SQL("EXPLAIN (FORMAT JSON, COSTS OFF) ") + execute.format(arguments)
        ).fetchone()
        self._connection.execute("DEALLOCATE explained")
        assert explained is not None
        nodes = list(_nodes(explained[0][0]["Plan"]))
        return Plan(
            indexes=frozenset(node["Index Name"] for node in nodes if "Index Name" in node),
            sorts=any("Sort" in node["Node Type"] for node in nodes),
            scans_all_jobs=any(
                node["Node Type"] == "Seq Scan" and node["Relation Name"] == "jobs"
                for node in nodes
            ),
            scans_all_schedules=any(
                node["Node Type"] == "Seq Scan" and node["Relation Name"] == "cron_jobs"
                for node in nodes
            ),
            text=json.dumps(explained[0], indent=1),
        )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


@pytest.fixture(scope="module")
def sqlite_connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("plans") / "filled.db"
    migrate(f"sqlite:///{path}")
    connection = sqlite3.connect(path)
    for table, columns, filled in (
        ("jobs", COLUMNS, filling()),
        ("cron_jobs", SCHEDULE_COLUMNS, schedules()),
    ):
        as_text = [
            tuple(v.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(v, datetime) else v for v in row)
            for row in filled
        ]
        marks = ", ".join("?" * len(as_text[0]))
        connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", as_text)
    connection.execute("ANALYZE")
    connection.commit()
    connection.close()
    # Statistics are read as a connection opens.
    connection = sqlite3.connect(path)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def sqlite_connection_without_statistics(
    sqlite_connection: sqlite3.Connection,
) -> Iterator[sqlite3.Connection]:
    """As users have it: nobody runs ANALYZE on SQLite."""
    connection = sqlite3.connect(":memory:")
    sqlite_connection.backup(connection)
    for table in ("sqlite_stat1", "sqlite_stat4"):
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table])
        if found.fetchone():
            connection.execute(f"DELETE FROM {table}")
    connection.execute("ANALYZE sqlite_master")  # reads the statistics anew
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def postgres_connection(postgres_server: str) -> Iterator[psycopg.Connection[Any]]:
    with temporary_database(postgres_server) as url:
        migrate(url)
        with psycopg.connect(url, autocommit=True) as connection:
            with connection.cursor().copy(f"COPY jobs ({COLUMNS}) FROM STDIN") as copy:
                for row in filling():
                    copy.write_row(row)
            copying = f"COPY cron_jobs ({SCHEDULE_COLUMNS}) FROM STDIN"
            with connection.cursor().copy(copying) as copy:
                for row in schedules():
                    copy.write_row(row)
            connection.execute("ANALYZE jobs, cron_jobs")
            yield connection


SQLITE = ["sqlite-analyzed", "sqlite"]
POSTGRES = ["postgres-force_custom_plan", "postgres-force_generic_plan"]

on_sqlite = pytest.mark.parametrize("explainer", SQLITE, indirect=True)
"""For what runs only there, or what PostgreSQL decides by its statistics."""


@pytest.fixture(params=SQLITE + POSTGRES)
def explainer(request: pytest.FixtureRequest) -> Explainer:
    database, _, mode = request.param.partition("-")
    if database == "postgres":
        return PostgresExplainer(request.getfixturevalue("postgres_connection"), mode)
    name = "sqlite_connection" if mode else "sqlite_connection_without_statistics"
    return SqliteExplainer(request.getfixturevalue(name))


Prepare = Callable[[AllStatements], Statement]


def plan_of(explainer: Explainer, prepare: Prepare) -> Plan:
    statement = prepare(AllStatements(tables(), explainer.dialect.name))
    return explainer.explain(statement.shape, statement.values)


def guard_plan_of(explainer: Explainer, prepare: Prepare) -> Plan:
    """The plan of the cheap look that comes first on databases with one writer."""
    statement = prepare(AllStatements(tables(), explainer.dialect.name))
    assert statement.unless_empty is not None
    return explainer.explain(statement.unless_empty, statement.values)


def claim(starting: bool) -> Prepare:
    request = ClaimRequest("default", ["Greet", "Part"], 20, "worker-1", 60, starting=starting)
    return lambda sql: sql.claim(request)


@pytest.mark.parametrize("starting", [True, False], ids=["start", "for-another-process"])
def test_claim_reads_its_candidates_in_order_from_the_claim_index(
    explainer: Explainer, *, starting: bool
) -> None:
    plan = plan_of(explainer, claim(starting))

    assert "jobs_claim" in plan.indexes, plan.text
    assert not plan.sorts, plan.text
    assert not plan.scans_all_jobs, plan.text


@on_sqlite
def test_look_before_a_claim_uses_the_claim_index(explainer: Explainer) -> None:
    plan = guard_plan_of(explainer, claim(True))

    assert "jobs_claim" in plan.indexes, plan.text
    assert not plan.scans_all_jobs, plan.text


@pytest.mark.parametrize("queue", [None, "default"])
def test_staging_reads_what_is_due_in_order_from_the_staging_index(
    explainer: Explainer, queue: str | None
) -> None:
    plan = plan_of(explainer, lambda sql: sql.stage(1_000, queue))

    assert "jobs_staging" in plan.indexes, plan.text
    assert not plan.sorts, plan.text
    assert not plan.scans_all_jobs, plan.text


@on_sqlite
def test_look_before_staging_uses_the_staging_index(explainer: Explainer) -> None:
    plan = guard_plan_of(explainer, lambda sql: sql.stage(1_000))

    assert plan.indexes == {"jobs_staging"}, plan.text


def test_expired_leases_are_read_in_order_from_the_lease_index(explainer: Explainer) -> None:
    plan = plan_of(explainer, lambda sql: sql.expired(500))

    assert plan.indexes == {"jobs_lease"}, plan.text
    assert not plan.sorts, plan.text


def test_cancel_requests_are_read_from_the_cancel_index(explainer: Explainer) -> None:
    plan = plan_of(explainer, lambda sql: sql.cancel_requests("worker-3"))

    assert plan.indexes == {"jobs_cancel"}, plan.text


def test_live_jobs_are_looked_up_by_the_unique_key_index(explainer: Explainer) -> None:
    plan = plan_of(explainer, lambda sql: sql.live_by_key([("Greet", "key-1"), ("Greet", "x")]))

    assert "jobs_unique_key" in plan.indexes, plan.text
    assert not plan.scans_all_jobs, plan.text


@pytest.mark.parametrize(
    "prepare",
    [
        lambda sql: sql.heartbeat([("a", 1), ("b", 2)], lease_seconds=60),
        lambda sql: sql.progress([("a", 1, 50.0, "half-way")]),
        lambda sql: sql.complete([("a", 1, "{}", None)]),
        lambda sql: sql.fail([("a", 1, "boom", "{}", 0, 1.0)]),
        lambda sql: sql.release([("a", 1, "shutdown", 10)]),
        lambda sql: sql.rescue([("a", 1, "expired", "{}", 1.0)]),
        lambda sql: sql.settled([("a", 1)]),
        lambda sql: sql.claim_one("a", worker_id="w", lease_seconds=60),
        lambda sql: sql.start("a", 1, worker_id="w", lease_seconds=60),
        lambda sql: sql.cancel(["a", "b"]),
        lambda sql: sql.retry(["a", "b"]),
        lambda sql: sql.get("a"),
        lambda sql: sql.by_prefix("a", 2),
        lambda sql: sql.survey(OLD, after="", limit=500),
        lambda sql: sql.prune(OLD, after=ID_IN_THE_MIDDLE, to=LAST_OF_ITS_STRETCH),
    ],
    ids=[
        "heartbeat",
        "progress",
        "complete",
        "fail",
        "release",
        "rescue",
        "settled",
        "claim_one",
        "start",
        "cancel",
        "retry",
        "get",
        "by_prefix",
        "survey",
        "prune",
    ],
)
def test_rows_that_are_named_are_not_searched_for(explainer: Explainer, prepare: Prepare) -> None:
    plan = plan_of(explainer, prepare)

    assert not plan.scans_all_jobs, plan.text


@on_sqlite
def test_what_a_worker_still_has_to_do_is_seen_in_the_two_indexes(explainer: Explainer) -> None:
    plan = plan_of(
        explainer,
        lambda sql: sql.outstanding(queues=["default"], job_names=["Greet"], within_seconds=1),
    )

    assert {"jobs_claim", "jobs_staging"} <= plan.indexes, plan.text
    assert not plan.scans_all_jobs, plan.text


def test_newest_jobs_are_listed_without_a_sort(explainer: Explainer) -> None:
    plan = plan_of(
        explainer,
        lambda sql: sql.list_jobs(JobFilter(), before_id=None, limit=50),
    )

    assert not plan.sorts, plan.text


@pytest.mark.parametrize(
    "wanted",
    [
        JobFilter(statuses=(JobStatus.FAILED, JobStatus.COMPLETED)),
        JobFilter(job_names=("Greet",), queues=("default",)),
        JobFilter(older_than=60, newer_than=3_600),
    ],
    ids=["status", "name-and-queue", "age"],
)
@on_sqlite
def test_pages_of_a_filter_are_read_off_in_order_without_a_sort(
    explainer: Explainer, wanted: JobFilter
) -> None:
    prepared: tuple[Prepare, ...] = (
        lambda sql: sql.list_jobs(wanted, before_id="1", limit=50),
        lambda sql: sql.list_ids(wanted, before_id="1", limit=50),
    )
    for prepare in prepared:
        plan = plan_of(explainer, prepare)

        assert not plan.sorts, plan.text
        assert not plan.scans_all_jobs, plan.text


@on_sqlite
def test_related_jobs_are_found_by_their_index(explainer: Explainer) -> None:
    plan = plan_of(explainer, lambda sql: sql.tally(JobFilter(correlation_id="c")))

    assert "jobs_correlation" in plan.indexes, plan.text


@on_sqlite
def test_live_jobs_are_read_from_the_indexes_that_hold_no_others(explainer: Explainer) -> None:
    plan = plan_of(explainer, lambda sql: sql.list_live(JobFilter(), limit=50))

    assert {"jobs_claim", "jobs_staging", "jobs_lease"} <= plan.indexes, plan.text
    assert not plan.scans_all_jobs, plan.text


def test_retry_sees_whether_a_key_is_taken_by_its_index(explainer: Explainer) -> None:
    plan = plan_of(explainer, lambda sql: sql.retry(["a", "b"]))

    assert "jobs_unique_key" in plan.indexes, plan.text


def test_pruning_looks_at_a_stretch_of_the_primary_key_and_no_further(
    explainer: Explainer,
) -> None:
    look = plan_of(explainer, lambda sql: sql.survey(OLD, after=ID_IN_THE_MIDDLE, limit=500))
    deletion = plan_of(
        explainer, lambda sql: sql.prune(OLD, after=ID_IN_THE_MIDDLE, to=LAST_OF_ITS_STRETCH)
    )

    primary_key = {"postgresql": "jobs_pkey", "sqlite": "sqlite_autoindex_jobs_1"}
    for plan in (look, deletion):
        assert plan.indexes == {primary_key[explainer.dialect.name]}, plan.text
        assert not plan.sorts, plan.text
        assert not plan.scans_all_jobs, plan.text


# ── schedules ────────────────────────────────────────────────────────────────────────────────


def schedule_plan_of(
    explainer: Explainer, prepare: Callable[[AllScheduleStatements], Statement]
) -> Plan:
    statement = prepare(AllScheduleStatements(tables(), explainer.dialect.name))
    return explainer.explain(statement.shape, statement.values)


def test_due_schedules_are_read_from_their_index_however_many_there_are(
    explainer: Explainer,
) -> None:
    now = datetime.now(UTC)

    plan = schedule_plan_of(explainer, lambda sql: sql.due(now, 500))

    assert "cron_jobs_due" in plan.indexes, plan.text
    assert not plan.scans_all_schedules, plan.text
    assert not plan.scans_all_jobs, plan.text


SOME_ID = f"{17:036}"


@pytest.mark.parametrize(
    ("prepare", "live"),
    [
        (lambda sql: sql.replace([fire()]), True),
        (lambda sql: sql.advance([fire()]), True),
        (lambda sql: sql.insert([tick()]), True),
        (lambda sql: sql.wait([fire()]), True),
        (lambda sql: sql.live_jobs(SOME_ID), True),
        (lambda sql: sql.trace([fire()]), False),
        (lambda sql: sql.reset([Reset(SOME_ID, None, datetime.now(UTC), None, None)]), False),
        (lambda sql: sql.by_name("s-17"), False),
    ],
    ids=["replace", "advance", "insert", "wait", "live_jobs", "trace", "reset", "by_name"],
)
@on_sqlite
def test_firing_searches_neither_jobs_nor_schedules(
    explainer: Explainer, prepare: Callable[[AllScheduleStatements], Statement], *, live: bool
) -> None:
    plan = schedule_plan_of(explainer, prepare)

    assert ("jobs_cron_live" in plan.indexes) == live, plan.text
    assert not plan.scans_all_jobs, plan.text
    assert not plan.scans_all_schedules, plan.text


@pytest.mark.parametrize(
    ("prepare", "index"),
    [
        (lambda sql: sql.in_hand("k8s/install/"), "jobs_lease"),
        (lambda sql: sql.cancelled("k8s/install/"), "jobs_cancel"),
        (lambda sql: sql.read(["a", "b"]), None),
        (lambda sql: sql.renew([("a", 1), ("b", 2)], lease_seconds=60), None),
    ],
    ids=["in_hand", "cancelled", "read", "renew"],
)
def test_a_launchers_rows_are_found_without_reading_all(
    explainer: Explainer, prepare: Callable[[LaunchStatements], Statement], index: str | None
) -> None:
    statement = prepare(LaunchStatements(tables(), explainer.dialect.name))

    plan = explainer.explain(statement.shape, statement.values)

    assert index is None or plan.indexes & {index, "jobs_lease", "jobs_cancel"}, plan.text
    assert not plan.scans_all_jobs, plan.text


def test_live_jobs_of_a_schedule_are_found_by_their_index(explainer: Explainer) -> None:
    plan = schedule_plan_of(explainer, lambda sql: sql.live_jobs(SOME_ID))

    assert plan.indexes == {"jobs_cron_live"}, plan.text


def fire() -> Fire:
    now = datetime.now(UTC)
    following = now + timedelta(hours=1)
    return Fire(SOME_ID, "0 * * * *", "UTC", now, following, "token", now, "job", None)


def tick() -> FireTime:
    now = datetime.now(UTC)
    return FireTime("job", SOME_ID, "token", now, now)


# ── figures ──────────────────────────────────────────────────────────────────────────────────


def test_figures_of_live_jobs_pass_over_what_has_ended(explainer: Explainer) -> None:
    statement = MonitoringStatements(tables(), explainer.dialect.name).live()

    plan = explainer.explain(statement.shape, statement.values)

    assert {"jobs_claim", "jobs_staging", "jobs_lease"} <= plan.indexes, plan.text
    assert not plan.scans_all_jobs, plan.text


@pytest.mark.parametrize("figures", ["ended", "activity"])
def test_figures_of_ended_jobs_begin_at_the_least_id(explainer: Explainer, figures: str) -> None:
    sql = MonitoringStatements(tables(), explainer.dialect.name)
    floor = f"{FINISHED + FUTURE + ELSEWHERE:036}"
    statement = getattr(sql, figures)(floor=floor, within=60)

    plan = explainer.explain(statement.shape, statement.values)

    assert plan.indexes & {"jobs_pkey", "sqlite_autoindex_jobs_1"}, plan.text
    assert not plan.scans_all_jobs, plan.text
