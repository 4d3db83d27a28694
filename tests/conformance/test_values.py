"""What goes into a row comes out of it, the same on every database."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import BigInteger, Float, Text, bindparam, insert, select

from server_jobs.database import Database
from server_jobs.errors import DataRefusedError
from server_jobs.sql.column_types import JsonText, UtcDateTime
from server_jobs.sql.rowset import rows
from server_jobs.sql.statement import Statement

MOMENT = datetime(2030, 6, 1, 12, 34, 56, 789012, tzinfo=UTC)

DOCUMENTS = {
    "big-integer": '{"n": 12345678901234567890, "negative": -9223372036854775809}',
    "unicode": '{"ключ": "žluťoučký 漢字 \\u00e9"}',
    "astral": '"𐍈𠀀 🦆 \\ud83e\\udd86"',
    "escapes": '"quote \\" backslash \\\\ newline \\n tab \\t slash \\/ del \\u007f"',
    "sql": '"it\'s 100% $1 ? :name"',
    "null": "null",
    "true": "true",
    "number": "0.1",
    "nested": '{"a": [1, [2, {"b": null}]], "": {}}',
    "digits-as-text": '"12345678901234567890"',
}

each_document = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())


async def stored(database: Database, name: str, value: Any) -> Any:
    """Write a value to a column by a parameter of its own, and read it."""
    jobs = database.tables.jobs
    shape = insert(jobs).values(
        id="a", job_name="J", **{name: bindparam("value", type_=jobs.c[name].type)}
    )
    await database.execute(Statement(shape, {"value": value}))
    ((read,),) = await database.execute(Statement(select(jobs.c[name])))
    return read


async def stored_by_row(database: Database, name: str, value: Any) -> Any:
    """The same, as a cell of a list of rows."""
    jobs = database.tables.jobs
    given = rows("given", id=Text(), job_name=Text(), value=jobs.c[name].type)
    source = select(given.c.id, given.c.job_name, given.c.value)
    shape = insert(jobs).from_select(["id", "job_name", name], source)
    await database.execute(Statement(shape, {"given": [("a", "J", value)]}))
    ((read,),) = await database.execute(Statement(select(jobs.c[name])))
    return read


each_way = pytest.mark.parametrize("way", [stored, stored_by_row], ids=["parameter", "row"])


@each_way
@each_document
async def test_json_is_carried_as_text_and_says_the_same(
    database: Database, way: Any, document: str
) -> None:
    read = await way(database, "params", document)

    assert isinstance(read, str)
    assert json.loads(read) == json.loads(document)


@each_way
async def test_absent_document_is_none_and_a_null_document_is_text(
    database: Database, way: Any
) -> None:
    assert await way(database, "result", None) is None

    jobs = database.tables.jobs
    await database.execute(Statement(jobs.delete()))
    assert await way(database, "result", "null") == "null"


@each_way
@pytest.mark.parametrize(
    "moment",
    [
        MOMENT,
        MOMENT.replace(microsecond=0),
        MOMENT.replace(microsecond=1),
        MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30))),
        datetime(2030, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=2))),
    ],
    ids=["micro", "whole", "one-micro", "other-zone", "other-day"],
)
async def test_moment_comes_back_in_utc(database: Database, way: Any, moment: datetime) -> None:
    read = await way(database, "scheduled_for", moment)

    assert read == moment
    assert read.tzinfo is UTC


@each_way
async def test_naive_moment_is_refused_before_anything_is_sent(
    database: Database, way: Any
) -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001 - the mistake under test

    with pytest.raises(ValueError, match="naive"):
        await way(database, "scheduled_for", naive)


@each_way
@pytest.mark.parametrize(
    "column",
    ["result", "progress_message", "timeout_seconds", "worker_id", "cron_fire_at", "runtime"],
)
async def test_none_is_null(database: Database, way: Any, column: str) -> None:
    assert await way(database, column, None) is None


@each_way
@pytest.mark.parametrize(
    "text",
    ["", 'it\'s "quoted"', "100% $1 ? :x {} \\", "line\nline\ttab", "žlutý 漢字 🦆", "  spaces  "],
)
async def test_text_comes_back_unchanged(database: Database, way: Any, text: str) -> None:
    assert await way(database, "progress_message", text) == text


@each_way
@pytest.mark.parametrize("number", [0, 1, 2**31, 9 * 10**15 - 1])
async def test_integer_keeps_every_digit(database: Database, way: Any, number: int) -> None:
    read = await way(database, "fence", number)

    assert read == number
    assert type(read) is int


@each_way
@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1])
async def test_integer_that_not_every_database_holds_is_refused(
    database: Database, way: Any, number: int
) -> None:
    with pytest.raises(DataRefusedError):
        await way(database, "fence", number)


@each_way
@pytest.mark.parametrize("number", [0.1 + 0.2, 1e-9, 86_400.5, 3e8])
async def test_float_keeps_every_digit(database: Database, way: Any, number: float) -> None:
    read = await way(database, "timeout_seconds", number)

    assert read == number
    assert type(read) is float


@pytest.mark.parametrize("flag", [True, False])
async def test_flag_is_a_bool(database: Database, flag: bool) -> None:
    assert await stored(database, "ready", flag) is flag


async def test_cells_of_several_types_and_nones_stay_in_their_columns(database: Database) -> None:
    given = rows(
        "given", text=Text(), document=JsonText(), moment=UtcDateTime(), n=BigInteger(), x=Float()
    )
    large = min(2**62, database.capabilities.max_integer)
    values: list[tuple[Any, ...]] = [
        ("a", '{"k": 1}', MOMENT, 1, 1.5),
        ("b", None, None, None, None),
        ("c", "null", MOMENT, large, 0.0),
        (None, "[]", None, -1, None),
    ]

    read = await database.execute(Statement(select(*given.c), {"given": values}))

    assert [tuple(row) for row in read] == values


async def test_server_default_of_a_moment_is_the_databases_clock_in_utc(
    database: Database,
) -> None:
    before = datetime.now(UTC)
    jobs = database.tables.jobs
    await database.execute(Statement(insert(jobs).values(id="a", job_name="J")))
    ((created_at,),) = await database.execute(Statement(select(jobs.c.created_at)))

    assert created_at.tzinfo is UTC
    # The databases of this suite run on this machine; SQLite's clock has milliseconds.
    assert before - timedelta(milliseconds=1) <= created_at <= datetime.now(UTC)
