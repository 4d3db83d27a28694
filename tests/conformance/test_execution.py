"""The driver's contract: what runs, what is committed, and how errors are named."""

from typing import Any

import pytest
from sqlalchemy import Integer, Text, bindparam, column, func, insert, select, text, update
from sqlalchemy.sql.selectable import Subquery

from server_jobs.database import Database
from server_jobs.errors import (
    ConstraintViolatedError,
    DatabaseError,
    DataRefusedError,
    MigrationRequiredError,
)
from server_jobs.sql.rowset import rows
from server_jobs.sql.statement import Statement
from tests.support.databases.kinds import Place, each_shared_kind

TOO_LARGE = 2**70
NO_UTF8 = "\ud800"


def insert_job(database: Database, job_id: str, **values: Any) -> Statement:
    return Statement(
        insert(database.tables.jobs).values(id=bindparam("id"), job_name="Greet", **values),
        {"id": job_id},
    )


def all_ids(database: Database) -> Statement:
    jobs = database.tables.jobs
    return Statement(select(jobs.c.id).order_by(jobs.c.id))


@each_shared_kind
async def test_execute_commits(database: Database, place: Place) -> None:
    await database.execute(insert_job(database, "a"))

    assert await place.open().execute(all_ids(database)) == [("a",)]


@each_shared_kind
async def test_batch_commits(database: Database, place: Place) -> None:
    await database.batch([insert_job(database, "a"), insert_job(database, "b")])

    assert await place.open().execute(all_ids(database)) == [("a",), ("b",)]


async def test_statement_without_rows_answers_none(database: Database) -> None:
    assert await database.execute(insert_job(database, "a")) == []


async def test_returning_answers_the_written_rows(database: Database) -> None:
    jobs = database.tables.jobs
    statement = Statement(insert(jobs).values(id="a", job_name="J").returning(jobs.c.queue))

    assert await database.execute(statement) == [("default",)]


async def test_batch_answers_each_statement_in_order(database: Database) -> None:
    answers = await database.batch(
        [
            all_ids(database),
            insert_job(database, "a"),
            all_ids(database),
            insert_job(database, "b"),
            all_ids(database),
        ]
    )

    assert answers == [[], [], [("a",)], [], [("a",), ("b",)]]


async def test_batch_of_nothing_answers_nothing(database: Database) -> None:
    assert await database.batch([]) == []


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_batch_writes_nothing_when_one_statement_fails(
    database: Database, position: int
) -> None:
    await database.execute(insert_job(database, "taken"))
    statements = [insert_job(database, "a"), insert_job(database, "b")]
    statements.insert(position, insert_job(database, "taken"))

    with pytest.raises(ConstraintViolatedError):
        await database.batch(statements)

    assert await database.execute(all_ids(database)) == [("taken",)]


async def test_batch_of_one_that_fails_writes_nothing(database: Database) -> None:
    with pytest.raises(ConstraintViolatedError):
        await database.batch([insert_job(database, "a", progress=101)])

    assert await database.execute(all_ids(database)) == []


@each_shared_kind
@pytest.mark.parametrize("refused", [NO_UTF8, 7j], ids=["no-utf8", "unknown-type"])
async def test_batch_whose_values_cannot_be_sent_leaves_no_transaction_open(
    database: Database, place: Place, refused: object
) -> None:
    unsendable = Statement(select(bindparam("value", type_=Text())), {"value": refused})

    with pytest.raises(DatabaseError):
        await database.batch([insert_job(database, "a"), unsendable])
    await database.execute(insert_job(database, "b"))

    assert await place.open().execute(all_ids(database)) == [("b",)]


@pytest.mark.parametrize(
    ("type_", "value"),
    [(Text(), NO_UTF8), (Integer(), TOO_LARGE)],
    ids=["no-utf8", "too-large"],
)
async def test_value_that_the_database_cannot_hold_is_an_error_of_ours(
    database: Database, type_: Any, value: object
) -> None:
    jobs = database.tables.jobs
    column_name = "correlation_id" if isinstance(value, str) else "fence"
    shape = insert(jobs).values(id="a", job_name="J", **{column_name: bindparam("x", type_=type_)})

    with pytest.raises(DataRefusedError):
        await database.execute(Statement(shape, {"x": value}))

    assert await database.execute(all_ids(database)) == []


async def test_duplicate_id_violates_a_constraint(database: Database) -> None:
    await database.execute(insert_job(database, "a"))

    with pytest.raises(ConstraintViolatedError):
        await database.execute(insert_job(database, "a"))


async def test_broken_check_is_named(database: Database) -> None:
    with pytest.raises(ConstraintViolatedError, match="jobs_progress_range"):
        await database.execute(insert_job(database, "a", progress=101))


async def test_missing_value_violates_a_constraint(database: Database) -> None:
    statement = Statement(insert(database.tables.jobs).values(id="a"))

    with pytest.raises(ConstraintViolatedError):
        await database.execute(statement)


@pytest.mark.parametrize("sql", ["SELECT 1 FROM no_such_table", "SELECT no_such_column FROM jobs"])
async def test_missing_table_or_column_asks_for_a_migration(database: Database, sql: str) -> None:
    with pytest.raises(MigrationRequiredError, match="server-jobs migrate"):
        await database.execute(Statement(text(sql)))


async def test_missing_column_in_a_write_asks_for_a_migration(database: Database) -> None:
    with pytest.raises(MigrationRequiredError, match="server-jobs migrate"):
        await database.execute(Statement(text("INSERT INTO jobs (no_such_column) VALUES (1)")))


async def test_broken_sql_is_a_database_error(database: Database) -> None:
    with pytest.raises(DatabaseError) as caught:
        await database.execute(Statement(text("SELEKT 1")))

    assert type(caught.value) is DatabaseError


async def test_database_works_on_after_a_refused_statement(database: Database) -> None:
    for statements in (
        [Statement(text("SELEKT 1"))],
        [insert_job(database, "a"), Statement(text("SELEKT 1"))],
    ):
        with pytest.raises(DatabaseError):
            await database.batch(statements)

    await database.batch([insert_job(database, "b"), insert_job(database, "c")])
    assert await database.execute(all_ids(database)) == [("b",), ("c",)]


def _given(*, count: type[Integer] = Integer) -> Subquery:
    return rows("given", id=Text(), priority=count())


async def test_thousands_of_rows_travel_in_one_statement(database: Database) -> None:
    jobs = database.tables.jobs
    given = _given()
    names = ["id", "job_name", "priority"]
    shape = insert(jobs).from_select(names, select(given.c.id, text("'J'"), given.c.priority))
    values = [(f"{number:05}", number) for number in range(5_000)]

    await database.execute(Statement(shape, {"given": values}))

    found = select(func.count(), func.sum(jobs.c.priority))
    assert await database.execute(Statement(found)) == [(5_000, sum(range(5_000)))]


async def test_rows_join_to_update_many_at_once(database: Database) -> None:
    jobs = database.tables.jobs
    await database.batch([insert_job(database, job_id) for job_id in "abc"])
    given = _given()
    shape = (
        update(jobs)
        .where(jobs.c.id == given.c.id)
        .values(priority=given.c.priority)
        .returning(jobs.c.id, jobs.c.priority)
    )

    written = await database.execute(Statement(shape, {"given": [("a", 1), ("c", 3), ("x", 9)]}))

    assert sorted(written) == [("a", 1), ("c", 3)]


async def test_no_rows_are_no_rows(database: Database) -> None:
    given = _given()

    assert await database.execute(Statement(select(given.c.id), {"given": []})) == []


async def test_same_shape_runs_with_other_values(database: Database) -> None:
    given = bindparam("given", type_=Text())
    shape = select(given.label("echo"))

    answers = [await database.execute(Statement(shape, {"given": value})) for value in ("x", "y")]

    assert answers == [[("x",)], [("y",)]]


async def test_names_of_sql_in_values_are_only_values(database: Database) -> None:
    value = "'; DROP TABLE jobs; -- ? :given $1 %s %(given)s \\"
    echo = select(bindparam("given", type_=Text()).label("echo"))

    assert await database.execute(Statement(echo, {"given": value})) == [(value,)]
    assert await database.execute(Statement(select(column("id")).select_from(text("jobs")))) == []
