"""``server-jobs doctor``: what it finds, what it advises, and how it ends."""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import text

from server_jobs import connect
from server_jobs.cli.doctor import server_checks
from server_jobs.database import Database
from server_jobs.monitoring.server_facts import notifications_arrive
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store
from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture

APP = "tests.support.cli_app:registry"

pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture
def cli(database_url: str) -> Cli:
    """On a migrated database."""
    cli = Cli(app=APP, database_url=database_url)
    cli.ok("migrate")
    return cli


def attend(cli: Cli, *options: str) -> dict[str, list[dict[str, Any]]]:
    """The findings by check; the exit status must be the one that goes with them."""
    result = cli("doctor", "--json", *options)
    findings = json.loads(result.stdout)
    assert result.exit_code == int(any(finding["level"] != "ok" for finding in findings))
    by_check: dict[str, list[dict[str, Any]]] = {}
    for finding in findings:
        by_check.setdefault(finding["check"], []).append(finding)
    return by_check


def use(cli: Cli, work: Callable[[Database], Awaitable[Any]]) -> Any:
    """Do something with the database itself."""

    async def run() -> Any:
        database = connect(cli.settings["database_url"])
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def execute(cli: Cli, sql: str) -> None:
    use(cli, lambda database: database.execute(Statement(text(sql))))


def age_by_an_hour(cli: Cli, column: str) -> None:
    hour_ago = (
        "statement_timestamp() - interval '1 hour'"
        if cli.settings["database_url"].startswith("postgresql")
        else "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-1 hour')"
    )
    execute(cli, f"UPDATE jobs SET {column} = {hour_ago}")


def enqueue(cli: Cli, *options: str) -> str:
    return cli.ok("enqueue", "Charge", "--param", "number=1", *options)


# ── all is well ──────────────────────────────────────────────────────────────────────────────


def test_healthy_database_is_found_so(cli: Cli) -> None:
    enqueue(cli)
    cli.ok("worker", "--drain")

    findings = attend(cli)

    # The tests' PostgreSQL is set up for speed, and doctor says so.
    findings.pop("postgresql", None)
    assert {f["level"] for found in findings.values() for f in found} == {"ok"}
    assert {"app", "database", "clock", "schema", "workers", "leases", "due", "names"} <= set(
        findings
    )
    assert "ended 1 in the last 1 h" in findings["workers"][0]["text"]


def test_findings_for_people_are_a_line_each(cli: Cli) -> None:
    lines = cli("doctor").stdout.splitlines()

    assert all(line.startswith(("OK    ", "WARN  postgresql ", "       ")) for line in lines)
    assert any("the tables are what this release needs" in line for line in lines)


def test_worker_that_holds_jobs_is_named(cli: Cli) -> None:
    job_id = enqueue(cli)
    use(cli, lambda db: Store(db).claim_one(job_id, worker_id="local/box/17/ab", lease_seconds=60))

    (worker,) = attend(cli)["workers"]

    assert "local/box/17/ab (host box, pid 17) holds 1 job and" in worker["text"]


def test_app_that_is_not_given_is_not_looked_at(cli: Cli) -> None:
    findings = attend(Cli(database_url=cli.settings["database_url"]))

    assert findings["app"][0]["level"] == "ok"
    assert "names" not in findings


# ── what needs attention ─────────────────────────────────────────────────────────────────────


def test_app_that_does_not_load_fails_and_the_rest_is_examined(cli: Cli) -> None:
    findings = attend(cli, "--app", "tests.support.cli_app:registri")

    assert findings["app"][0]["level"] == "fail"
    assert "did you mean 'registry'?" in findings["app"][0]["text"]
    assert "schema" in findings


def test_missing_tables_are_a_failure_that_names_the_way_out(postgres_url: str) -> None:
    findings = attend(Cli(database_url=postgres_url))

    assert findings["schema"][0]["level"] == "fail"
    assert "server-jobs migrate" in findings["schema"][0]["text"]
    assert "workers" not in findings


def test_missing_file_is_a_failure_and_stays_missing(tmp_path: Path) -> None:
    findings = attend(Cli(database_url=f"sqlite:///{tmp_path / 'other.db'}"))

    assert findings["database"][0]["level"] == "fail"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [("version = 0", "run `server-jobs migrate`"), ("oldest_code = 99", "upgrade server-jobs")],
)
def test_tables_of_another_release_are_a_failure(cli: Cli, values: str, said: str) -> None:
    execute(cli, f"UPDATE server_jobs_schema SET {values}")

    findings = attend(cli)

    assert findings["schema"][0]["level"] == "fail"
    assert said in findings["schema"][0]["text"]


def test_database_that_is_away_is_a_failure_without_its_password() -> None:
    result = Cli(database_url="postgresql://user:hunter2@127.0.0.1:1/name")("doctor")

    assert result.exit_code == 1
    assert "FAIL  database" in result.stdout
    assert "hunter2" not in result.output


def test_queue_that_nobody_serves(cli: Cli) -> None:
    enqueue(cli, "--queue", "mail")
    age_by_an_hour(cli, "scheduled_for")

    (due,) = attend(cli)["due"]

    assert due["level"] == "warn"
    assert "1 Charge job due in queue mail, the oldest for 1 h" in due["text"]
    assert "server-jobs worker --queue mail" in due["advice"]


def test_name_that_the_queues_workers_leave(cli: Cli) -> None:
    cli.ok("enqueue", "Sleep", "--param", "seconds=0")
    cli.ok("worker", "--drain")
    enqueue(cli)
    age_by_an_hour(cli, "scheduled_for")

    (due,) = attend(cli)["due"]

    assert "none of that name" in due["text"]


def test_workers_that_fall_behind(cli: Cli) -> None:
    enqueue(cli)
    cli.ok("worker", "--drain")
    enqueue(cli)
    age_by_an_hour(cli, "scheduled_for")

    (due,) = attend(cli)["due"]

    assert "fall behind" in due["advice"]


def test_jobs_of_names_that_the_app_does_not_have(cli: Cli) -> None:
    cli.ok("enqueue", "Sleep", "--param", "seconds=0")
    age_by_an_hour(cli, "scheduled_for")

    findings = attend(cli, "--app", "tests.support.processes.app:registry")

    assert findings["names"][0]["level"] == "warn"
    assert "1 Sleep job" in findings["names"][0]["text"]
    # Said once.
    assert findings["due"][0]["level"] == "ok"


def test_leases_that_nobody_rescues(cli: Cli) -> None:
    job_id = enqueue(cli)
    use(cli, lambda db: Store(db).claim_one(job_id, worker_id="gone", lease_seconds=60))
    age_by_an_hour(cli, "worker_expires_at")

    (leases,) = attend(cli)["leases"]

    assert leases["level"] == "warn"
    assert "1 job left running under leases that have expired, the first one 1 h" in leases["text"]
    assert "no worker runs: start one, of any queue" in leases["advice"]


# ── SQLite ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def on_sqlite(sqlite_url: str) -> Cli:
    cli = Cli(database_url=sqlite_url)
    cli.ok("migrate")
    return cli


def file_of(cli: Cli) -> Path:
    return Path(cli.settings["database_url"].removeprefix("sqlite:///"))


def test_sqlite_that_a_power_cut_may_destroy(on_sqlite: Cli) -> None:
    url = on_sqlite.settings["database_url"]

    findings = attend(Cli(database_url=f"{url}?synchronous=off"))

    assert findings["sqlite"][0]["level"] == "warn"
    assert "synchronous" in findings["sqlite"][0]["text"]


def test_damaged_file_is_found_by_the_quick_check_alone(on_sqlite: Cli) -> None:
    connection = sqlite3.connect(file_of(on_sqlite))
    # A row that its table's own constraint forbids.
    connection.execute("CREATE TABLE theirs (x CHECK (x > 0))")
    connection.execute("PRAGMA ignore_check_constraints = on")
    connection.execute("INSERT INTO theirs VALUES (-1)")
    connection.commit()
    connection.close()

    without, with_it = attend(on_sqlite), attend(on_sqlite, "--quick-check")

    assert "quick-check" not in without
    assert with_it["quick-check"][0]["level"] == "fail"
    assert "theirs" in with_it["quick-check"][0]["text"]


def test_sound_file_is_found_so(on_sqlite: Cli) -> None:
    assert attend(on_sqlite, "--quick-check")["quick-check"][0]["level"] == "ok"


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def on_postgres(postgres_url: str) -> Cli:
    cli = Cli(database_url=postgres_url)
    cli.ok("migrate")
    return cli


def with_option(cli: Cli, option: str) -> Cli:
    url = cli.settings["database_url"]
    return Cli(database_url=f"{url}{'&' if '?' in url else '?'}{option}")


def with_setting(cli: Cli, name: str, value: str) -> Cli:
    return with_option(cli, f"options=-c%20{name}%3D{value}")


def test_server_that_takes_no_writes_is_a_failure(on_postgres: Cli) -> None:
    findings = attend(with_setting(on_postgres, "default_transaction_read_only", "on"))

    assert "fail" in {finding["level"] for finding in findings["postgresql"]}


def test_commits_that_may_be_lost_are_a_warning(on_postgres: Cli) -> None:
    findings = attend(with_setting(on_postgres, "synchronous_commit", "off"))

    texts = [finding["text"] for finding in findings["postgresql"] if finding["level"] == "warn"]
    assert any("synchronous_commit is off" in text for text in texts)


def test_rows_that_policies_hide_are_a_warning(on_postgres: Cli) -> None:
    role = f"shy_{uuid4().hex[:12]}"
    url = on_postgres.settings["database_url"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE jobs ENABLE ROW LEVEL SECURITY")
        connection.execute(f"CREATE ROLE {role}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        try:
            findings = attend(with_setting(on_postgres, "role", role))["postgresql"]
        finally:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")

    (hidden,) = [finding for finding in findings if "row level security" in finding["text"]]
    assert "rows of jobs from this role" in hidden["text"]
    assert "BYPASSRLS" in hidden["advice"]


def test_old_transaction_is_named(on_postgres: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_checks, "OPEN_TOO_LONG", 0.0)
    with psycopg.connect(
        on_postgres.settings["database_url"], application_name="report"
    ) as connection:
        connection.execute("SELECT 1")
        pid = connection.info.backend_pid

        findings = attend(on_postgres)["vacuum"]

    (old,) = [finding for finding in findings if f"pid {pid}" in finding["text"]]
    assert old["level"] == "warn"
    assert "report" in old["text"]
    assert f"pg_terminate_backend({pid})" in old["advice"]


def test_notifications_are_seen_to_arrive(on_postgres: Cli) -> None:
    (notify,) = attend(on_postgres)["notify"]

    assert notify == {
        "check": "notify",
        "level": "ok",
        "text": "notifications arrive: workers wake at once",
        "advice": None,
    }


def test_behind_a_pooler_notifications_are_not_waited_for(on_postgres: Cli) -> None:
    url = on_postgres.settings["database_url"]

    (notify,) = attend(Cli(database_url=f"{url}{'&' if '?' in url else '?'}pgbouncer=true"))[
        "notify"
    ]

    assert "workers poll" in notify["text"]


async def test_notifications_that_do_not_arrive_are_missed(postgres_url: str) -> None:
    class DeafDatabase:
        """The real one, behind something that keeps notifications back."""

        def __init__(self, database: Database) -> None:
            self._database = database

        def __getattr__(self, name: str) -> Any:
            return getattr(self._database, name)

        async def wait_for_change(self, timeout: float) -> None:
            await asyncio.sleep(timeout)

    database = connect(postgres_url)
    try:
        assert await notifications_arrive(database)
        assert not await notifications_arrive(DeafDatabase(database), within=0.1)
    finally:
        await database.close()
