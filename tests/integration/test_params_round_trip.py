"""Whatever the type and the value: what `later` takes comes back from the database as it was."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from types import GenericAlias
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, create_model

from server_jobs import connect, define_job
from server_jobs.database import Database
from server_jobs.errors import InvalidParamsError
from tests.support.payloads import Colour, Level, decimals, floats, json_values, texts


class Shape(NamedTuple):
    """A type, and its values."""

    type: Any
    values: st.SearchStrategy[Any]


KEYS = [
    Shape(str, texts),
    Shape(int, st.integers(-(10**30), 10**30)),
    Shape(UUID, st.uuids()),
    Shape(date, st.dates()),
    Shape(bool, st.booleans()),
    Shape(Colour, st.sampled_from(Colour)),
]
SCALARS = [
    *KEYS,
    Shape(float, floats),
    Shape(type(None), st.none()),
    Shape(bytes, texts.map(str.encode)),
    Shape(Decimal, decimals),
    Shape(time, st.times()),
    Shape(datetime, st.datetimes(timezones=st.none() | st.just(UTC))),
    Shape(timedelta, st.timedeltas()),
    Shape(Level, st.sampled_from(Level)),
    Shape(IPv4Address, st.ip_addresses(v=4)),
]
UNSURE = [
    Shape(Any, json_values | floats | st.dates() | st.sets(st.integers()) | st.uuids()),
    Shape(Any, st.dictionaries(texts | st.integers() | st.none(), floats)),
    Shape(str | date, st.dates() | st.dates().map(str) | texts),
    Shape(date | str, st.dates() | st.dates().map(str) | texts),
    Shape(UUID | str, st.uuids() | st.uuids().map(str)),
    Shape(int | float | str, st.integers() | floats | st.integers().map(str)),
    Shape(bytes | str, texts | texts.map(str.encode)),
    Shape(
        dict[int | str, int], st.dictionaries(st.integers() | st.integers().map(str), st.integers())
    ),
    Shape(
        dict[tuple[int, int], int],
        st.dictionaries(st.tuples(st.integers(), st.integers()), st.just(1)),
    ),
]


def within(inner: st.SearchStrategy[Shape]) -> st.SearchStrategy[Shape]:
    """Containers of every sort for what is inside."""
    keys = st.sampled_from(KEYS)
    some = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        inner.map(lambda it: of(list, st.lists(it.values, max_size=3), it)),
        inner.map(lambda it: Shape(it.type | None, st.none() | it.values)),
        some.map(lambda them: of(tuple, st.tuples(*(it.values for it in them)), *them)),
        keys.map(lambda key: of(set, st.sets(key.values, max_size=3), key)),
        st.tuples(keys, inner).map(lambda pair: dictionary(*pair)),
        some.map(model),
        some.map(dataclass),
    )


def of(container: type[Any], values: st.SearchStrategy[Any], *inner: Shape) -> Shape:
    return Shape(GenericAlias(container, tuple(it.type for it in inner)), values)


def dictionary(key: Shape, inner: Shape) -> Shape:
    return of(dict, st.dictionaries(key.values, inner.values, max_size=3), key, inner)


def model(fields: list[Shape]) -> Shape:
    named = {f"field{number}": field for number, field in enumerate(fields)}
    types: dict[str, Any] = {name: (field.type, ...) for name, field in named.items()}
    made: Any = create_model("Made", **types)
    return Shape(made, st.builds(made, **{name: field.values for name, field in named.items()}))


def dataclass(fields: list[Shape]) -> Shape:
    named = {f"field{number}": field for number, field in enumerate(fields)}
    made = dataclasses.make_dataclass("Made", [(name, it.type) for name, it in named.items()])
    return Shape(made, st.builds(made, **{name: field.values for name, field in named.items()}))


sure = st.recursive(st.sampled_from(SCALARS), within, max_leaves=4)
any_at_all = st.recursive(st.sampled_from(SCALARS + UNSURE), within, max_leaves=4)


@pytest.fixture
def comes_back(migrated_url: str) -> Iterator[Callable[[Shape, Any], tuple[Any, Any]]]:
    """Enqueue a value, and read it from the row → what was enqueued, and what came back."""
    database = connect(migrated_url)
    with asyncio.Runner() as runner:

        def trip(shape: Shape, value: Any) -> tuple[Any, Any]:
            return runner.run(_trip(database, shape, value))

        yield trip
        runner.run(database.close())


async def _trip(database: Database, shape: Shape, value: Any) -> tuple[Any, Any]:
    job: Any = define_job(
        name="Receive", params_schema=shape.type, result_schema=type(None), handler=lambda _: None
    )
    job.set_database(database)
    passed = job.definition.params.validate(value)
    record = await job.get(await job.later(value))
    return passed, job.definition.params.load(record.params)


def alike(a: Any, b: Any) -> bool:
    """Equal, where a tuple may come back as a list: said in other words than the code's."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, BaseModel) or dataclasses.is_dataclass(a):
        return type(a) is type(b) and alike(vars(a), vars(b))
    return bool(a == b)


def test_values_of_declared_types_are_taken_and_come_back(
    comes_back: Callable[[Shape, Any], tuple[Any, Any]],
) -> None:
    @settings(max_examples=150)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        shape = data.draw(sure)
        passed, got = comes_back(shape, data.draw(shape.values))
        assert got == passed
        assert type(got) is type(passed)

    check()


def test_values_of_any_type_come_back_or_are_refused(
    comes_back: Callable[[Shape, Any], tuple[Any, Any]],
) -> None:
    seen = {"taken": 0, "refused": 0}

    @settings(max_examples=250)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        shape = data.draw(any_at_all)
        try:
            passed, got = comes_back(shape, data.draw(shape.values))
        except InvalidParamsError:
            seen["refused"] += 1
            return
        seen["taken"] += 1
        assert alike(passed, got)

    check()
    assert min(seen.values()) > 10, seen


def test_float_is_no_integer_where_the_type_says_nothing(
    comes_back: Callable[[Shape, Any], tuple[Any, Any]],
) -> None:
    @given(st.lists(floats))
    def check(numbers: list[float]) -> None:
        _, got = comes_back(Shape(Any, floats), numbers)
        assert got == numbers
        assert {type(number) for number in got} <= {float}

    check()
