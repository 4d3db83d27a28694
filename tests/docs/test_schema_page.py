"""The schema page is what ``schema.py`` says, and its SQL runs on both databases."""

import contextlib
import sqlite3

import psycopg
import pytest
from sqlalchemy import Column, Table
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.sql.schema import DefaultClause

from server_jobs import connect, create_job_registry, define_job
from server_jobs.migrate import migrate
from server_jobs.sql.rules import complete_tables
from server_jobs.worker import LocalWorker, WorkerConfig
from tests.support.pages.markdown import ROOT, code_blocks, codes, tables

PAGE = ROOT / "docs" / "schema.md"
POSTGRES = PGDialect()  # type: ignore[no-untyped-call]
SQLITE = SQLiteDialect()
TABLES = (complete_tables().jobs, complete_tables().cron_jobs, complete_tables().leases)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_columns_are_those_of_the_code(table: Table) -> None:
    (rows,) = tables(PAGE)[f"`{table.name}`"]

    documented = [(row["column"], row["type"], row["null"], row["default"]) for row in rows]
    assert documented == [
        (f"`{column.name}`", type_word(column), "yes" if column.nullable else "no", default(column))
        for column in table.c
    ]
    assert all(row["meaning"] for row in rows)


def type_word(column: Column[object]) -> str:
    """The page's word for the column's type in both dialects."""
    (rows,) = tables(PAGE)["Types"]
    words = {(codes(row["PostgreSQL"])[0], codes(row["SQLite"])[0]): row["type"] for row in rows}
    return words[column.type.compile(dialect=POSTGRES), column.type.compile(dialect=SQLITE)]


def default(column: Column[object]) -> str:
    if column.server_default is None:
        return ""
    assert isinstance(column.server_default, DefaultClause)
    argument = column.server_default.arg
    assert not isinstance(argument, str)
    sql = str(argument.compile(dialect=POSTGRES))
    return "now" if sql == "statement_timestamp()" else f"`{sql}`"


def test_indexes_are_those_of_the_code() -> None:
    (rows,) = tables(PAGE)["Indexes"]

    documented = {(row["index"], row["on"], row["unique"]) for row in rows}
    assert documented == {
        (
            f"`{index.name}`",
            ", ".join(key(str(expression)) for expression in index.expressions),
            "yes" if index.unique else "no",
        )
        for table in TABLES
        for index in table.indexes
    }


def key(expression: str) -> str:
    name, _, direction = expression.partition(" ")
    return f"`{name.rpartition('.')[2]}`{' ' + direction if direction else ''}"


def test_constraints_are_those_of_the_code() -> None:
    (rows,) = tables(PAGE)["Constraints"]
    documented = {name for row in rows for name in codes(row["constraint"]) if "…" not in name}

    named = {
        str(constraint.name)
        for table in TABLES
        for constraint in table.constraints
        if constraint.name is not None
    }
    of_formats = {name for name in named if name.endswith(("_json", "_time", "_value"))}
    assert documented == named - of_formats


def statements(*dialects: str) -> list[str]:
    """The page's statements for these dialects; a block without one is for all."""
    blocks = [block for block in code_blocks(PAGE, "sql") if set(block.marks) <= set(dialects)]
    return [
        statement for block in blocks for statement in block.text.split(";\n") if statement.strip()
    ]


async def test_row_inserted_by_hand_is_executed(database_url: str) -> None:
    migrate(database_url)
    dialect = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    (insert,) = statements(dialect)
    assert insert.startswith("INSERT")
    execute(database_url, insert)
    sent: list[str] = []

    @define_job(name="SendEmail")
    async def send_email(params: dict[str, str]) -> None:
        sent.append(params["to"])

    database = connect(database_url)
    worker = LocalWorker(
        database=database,
        job_registry=create_job_registry().register(send_email),
        config=WorkerConfig(drain=True),
    )
    await worker.run_until_stopped()
    await database.close()

    assert sent == ["ada@example.com"]
    assert execute(database_url, "SELECT job_name, status FROM jobs") == [
        ("SendEmail", "completed")
    ]


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()
    with psycopg.connect(url, autocommit=True) as postgres:
        cursor = postgres.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []
