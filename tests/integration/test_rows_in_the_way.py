"""Rows that an older release's tables took and today's refuse: named, and left as they are."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server_jobs.errors import RowsInTheWayError
from server_jobs.migrate import migrate, rows_in_the_way_sql
from server_jobs.sql.tables import tables
from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture
from tests.support.databases.old_tables import Rows, make_tables_at, read_sql, run_sql
from tests.support.servers.hrana import TOKEN, HranaServer

IN_THE_WAY = (
    "INSERT INTO jobs (id, job_name, attempt_count) VALUES ('counted', 'Greet', 2147483647);\n"
    "INSERT INTO jobs (id, job_name) VALUES ('', 'Greet');\n"
    "INSERT INTO cron_jobs (id, name, job_name, cron_expression, timeout_seconds)"
    " VALUES ('endless', 'nightly', 'Greet', '0 3 * * *', 1e300);\n"
)
MENDED = (
    "UPDATE jobs SET attempt_count = 1 WHERE id = 'counted';\n"
    "DELETE FROM jobs WHERE id = '';\n"
    "DELETE FROM cron_jobs WHERE id = 'endless';\n"
)
FINE = "INSERT INTO jobs (id, job_name) VALUES ('fine', 'Greet');\n"
NOT_TEXT = "INSERT INTO jobs (id, job_name) VALUES (CAST(x'636166e9' AS TEXT), 'Greet');\n"


@pytest.fixture(params=["0001", "0003"])
def step(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def jobs(url: str) -> Rows:
    return read_sql(url, "SELECT id, attempt_count FROM jobs ORDER BY id")


@pytest.mark.usefixtures("process_state")
def test_rows_in_the_way_are_named_and_nothing_is_changed(database_url: str, step: str) -> None:
    make_tables_at(step, database_url, tables())
    run_sql(database_url, FINE + IN_THE_WAY)
    before = jobs(database_url)
    cli = Cli(database_url=database_url)

    refused = cli("migrate")

    assert refused.exit_code == 1
    assert "2 rows break a rule that step 0004 adds" in refused.output
    assert "jobs 'counted' breaks jobs_attempt_count_value" in refused.output
    assert "jobs '' breaks jobs_id_value" in refused.output
    assert "fine" not in refused.output
    assert jobs(database_url) == before
    assert read_sql(database_url, "SELECT version FROM server_jobs_schema") == [(int(step),)]

    run_sql(database_url, MENDED)
    assert "applied 0004" in cli.ok("migrate")
    assert jobs(database_url) == [("counted", 1), ("fine", 0)]


def test_schedules_in_the_way_are_named_after_the_jobs(database_url: str) -> None:
    make_tables_at("0003", database_url, tables())
    run_sql(database_url, IN_THE_WAY.replace("2147483647", "1").replace("('', ", "('x', "))

    with pytest.raises(RowsInTheWayError, match="'endless' breaks cron_jobs_timeout_value"):
        migrate(database_url)


def test_of_many_rows_some_are_named_and_all_are_counted(database_url: str) -> None:
    make_tables_at("0003", database_url, tables())
    rows = ", ".join(f"('{number}', 'Greet', 1000000001)" for number in range(30))
    run_sql(database_url, f"INSERT INTO jobs (id, job_name, disruptions) VALUES {rows};\n")

    with pytest.raises(RowsInTheWayError) as caught:
        migrate(database_url)

    assert str(caught.value).startswith("30 rows break")
    assert str(caught.value).count("jobs_disruptions_value") == 20
    assert "… and 10 more" in str(caught.value)


def test_row_whose_id_is_no_text_is_named_too(sqlite_url: str) -> None:
    make_tables_at("0003", sqlite_url, tables())
    run_sql(sqlite_url, NOT_TEXT)

    with pytest.raises(RowsInTheWayError, match=r"caf.*xe9' breaks jobs_id_value"):
        migrate(sqlite_url)


def test_query_finds_what_the_migration_would_refuse(database_url: str) -> None:
    make_tables_at("0003", database_url, tables())
    run_sql(database_url, FINE + IN_THE_WAY)
    dialect = "sqlite" if database_url.startswith("sqlite") else "postgresql"

    found = read_sql(database_url, rows_in_the_way_sql(dialect))

    assert {(table, rule) for table, _, rule in found} == {
        ("jobs", "jobs_attempt_count_value"),
        ("jobs", "jobs_id_value"),
        ("cron_jobs", "cron_jobs_timeout_value"),
    }


@contextmanager
def served(path: Path) -> Iterator[str]:
    with HranaServer() as server:
        yield f"{server.serve(path)}?authToken={TOKEN}"


def test_libsql_names_them_too(tmp_path: Path) -> None:
    path = tmp_path / "served.db"
    make_tables_at("0003", f"sqlite:///{path}", tables())
    run_sql(f"sqlite:///{path}", FINE + IN_THE_WAY + NOT_TEXT)
    before = tmp_path / "before.db"
    shutil.copyfile(path, before)

    with served(path) as url:
        with pytest.raises(RowsInTheWayError) as caught:
            migrate(url)
        assert jobs_count(path) == jobs_count(before) == 4
        run_sql(f"sqlite:///{path}", MENDED + "DELETE FROM jobs WHERE id <> 'fine';\n")
        assert migrate(url) == ["0004"]

    assert "3 rows break a rule" in str(caught.value)
    assert "'counted' breaks jobs_attempt_count_value" in str(caught.value)


def jobs_count(path: Path) -> int:
    ((count,),) = read_sql(f"sqlite:///{path}", "SELECT count(*) FROM jobs")
    return int(count)


def test_query_goes_with_sql_alone() -> None:
    refused = Cli()("migrate", "--in-the-way")

    assert refused.exit_code == 2
    assert "--in-the-way" in refused.output
