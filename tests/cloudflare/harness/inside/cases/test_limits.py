"""What D1 wouldn't take, or would take for something else, is refused before it is sent."""

from typing import Any

import pytest
from sqlalchemy import BigInteger, LargeBinary, Select, Text, bindparam, column, select, text

from server_jobs.errors import DatabaseError, DataRefusedError
from server_jobs.sql.statement import Statement, Unreadable
from server_jobs.store.store import Store
from server_jobs_cloudflare.d1 import D1Database
from tests.support.databases.kinds import Place
from tests.support.scene import claim_of, new_job


def echo(value: Any, type_: Any = None) -> Statement:
    return Statement(select(bindparam("value", type_=type_).label("echo")), {"value": value})


def of_parameters(number: int) -> Statement:
    values = {f"p{n}": n for n in range(number)}
    names = ", ".join(f":{name}" for name in values)
    return Statement(text(f"SELECT 1 WHERE 1 IN ({names})"), values)


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**63 - 1])
@pytest.mark.parametrize("type_", [BigInteger(), None], ids=["typed", "untyped"])
async def test_integer_that_javascript_would_round_is_refused(
    database: D1Database, number: int, type_: Any
) -> None:
    with pytest.raises(DataRefusedError, match=str(number)):
        await database.execute(echo(number, type_))

    assert database.queries == 0


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
async def test_number_that_json_has_no_word_for_is_refused(
    database: D1Database, number: float
) -> None:
    with pytest.raises(DataRefusedError, match=str(number)):
        await database.execute(echo(number))

    assert database.queries == 0


async def test_statement_is_compiled_once_for_all_databases(place: Place) -> None:
    compiled = 0

    class Counted(Select[Any]):
        inherit_cache = False

        def compile(self, *args: Any, **options: Any) -> Any:
            nonlocal compiled
            compiled += 1
            return super().compile(*args, **options)

    shape = Counted(bindparam("value").label("echo"))
    for value in (1, 2):
        assert await place.open().execute(Statement(shape, {"value": value})) == [(value,)]

    assert compiled == 1


async def test_integer_that_was_rounded_on_its_way_here_is_unreadable(
    database: D1Database,
) -> None:
    shape = text("SELECT 9007199254740993 AS n").columns(n=BigInteger())

    ((read,),) = await database.execute(Statement(shape))

    assert isinstance(read, Unreadable)
    assert "beyond 2^53 - 1, which it can't return exactly" in read.why


@pytest.mark.parametrize("blob", [b"", b"\x00\xff\x80", bytes(range(256)) * 100])
@pytest.mark.parametrize("of", [bytes, bytearray, memoryview])
async def test_blob_comes_back_unchanged(database: D1Database, blob: bytes, of: Any) -> None:
    ((read,),) = await database.execute(echo(of(blob), LargeBinary()))

    assert read == blob


async def test_a_hundred_parameters_pass(database: D1Database) -> None:
    assert await database.execute(of_parameters(100)) == [(1,)]


async def test_one_more_is_refused(database: D1Database) -> None:
    with pytest.raises(DataRefusedError, match="101"):
        await database.execute(of_parameters(101))

    assert database.queries == 0


async def test_statement_that_is_too_long_is_refused(database: D1Database) -> None:
    with pytest.raises(DataRefusedError, match="bytes of SQL"):
        await database.execute(Statement(text(f"SELECT '{'x' * 100_000}'")))

    assert database.queries == 0


@pytest.mark.parametrize("value", ["x" * 2_000_001, "é" * 1_000_001, b"x" * 2_000_001])
async def test_value_that_is_too_large_is_refused(database: D1Database, value: Any) -> None:
    with pytest.raises(DataRefusedError, match="2000000"):
        await database.execute(echo(value, Text() if isinstance(value, str) else LargeBinary()))

    assert database.queries == 0


async def test_two_columns_of_one_name_are_an_error_and_no_lost_value(
    database: D1Database,
) -> None:
    shape = text("SELECT 1 AS n, 2 AS n").columns(column("n"), column("m"))

    with pytest.raises(DatabaseError, match="same name"):
        await database.execute(Statement(shape))


async def test_each_statement_of_a_batch_counts_as_a_query(database: D1Database) -> None:
    await database.execute(echo(1))
    await database.batch([echo(1), echo(2), echo(3)])

    assert database.queries == 4


async def test_largest_payloads_are_enqueued_claimed_and_read(
    database: D1Database, place: Place
) -> None:
    limit = database.capabilities.max_payload_bytes
    quotes = '"' + '\\"' * (limit // 2 - 1) + '"'
    letters = '"' + "x" * (limit - 2) + '"'
    faces = '"' + "😀" * (limit // 4 - 1) + '"'
    new = [new_job(params=params) for params in (quotes, letters, faces) for _ in range(4)]
    store = Store(database)

    await store.enqueue(new)
    jobs = await store.claim(claim_of(12))

    assert {job.id: job.params for job in jobs} == {job.id: job.params for job in new}
