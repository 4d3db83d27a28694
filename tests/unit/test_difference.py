"""Where a value that came back from JSON differs from the one that went in."""

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from server_jobs.definition.difference import difference

ZURICH = ZoneInfo("Europe/Zurich")
TWICE = datetime(2026, 10, 25, 2, 30, tzinfo=ZURICH)


class Pair(NamedTuple):
    left: int
    right: int


class Person(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: int = 0
    name: str = ""
    cache: dict[str, int] = Field(default_factory=dict, exclude=True)
    _connection: Any = PrivateAttr(default_factory=object)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Person) and other.id == self.id

    __hash__ = None  # type: ignore[assignment]


def person(**extra: Any) -> Person:
    return Person.model_validate({"id": 1, **extra})


@dataclass
class Point:
    x: int
    label: str = field(default="", compare=False)


class Opaque:
    pass


class Quarrelsome:
    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("went_in", "came_back"),
    [
        ([1, "a", None], [1, "a", None]),
        ((1, 2), [1, 2]),
        ([math.nan], [math.nan]),
        (complex(math.nan, 0), complex(math.nan, 0)),
        (Decimal("NaN"), Decimal("NaN")),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (OrderedDict(a=1), {"a": 1}),
        ({1, 2}, frozenset({2, 1})),
        (TWICE, TWICE.replace(tzinfo=timezone(timedelta(hours=2)))),
        (TWICE.replace(fold=1), TWICE.replace(tzinfo=timezone(timedelta(hours=1)))),
        ({TWICE: 1}, {TWICE.replace(tzinfo=timezone(timedelta(hours=2))): 1}),
        (Person(id=1, name="Ada"), Person(id=1, name="Ada")),
        (person(more=[(1, 2)]), person(more=[[1, 2]])),
        (deque([1]), deque([1])),
        (Pair(1, 2), Pair(1, 2)),
    ],
)
def test_these_are_the_same(went_in: Any, came_back: Any) -> None:
    assert difference(went_in, came_back) is None


@pytest.mark.parametrize(
    ("went_in", "came_back", "where"),
    [
        (1, "1", ""),
        ([1, [2, 3]], [1, [2, 4]], "1.1"),
        ([1], [1, 2], ""),
        ({"a": {"b": {1}}}, {"a": {"b": [1]}}, "a.b"),
        ({1: "a"}, {"1": "a"}, "1.[key]"),
        ({1: "a", "1": "b"}, {"1": "b"}, ""),
        (TWICE, TWICE.replace(tzinfo=UTC), ""),
        (TWICE, TWICE.replace(tzinfo=None), ""),
        (Person(id=1, name="Ada"), Person(id=1, name="Bob"), "name"),
        (person(more=1), person(more=2), "more"),
        (person(more=1), Person(id=1), ""),
        (Person(id=1), {"id": 1, "name": ""}, ""),
        ([Point(1, "a")], [Point(1, "b")], "0.label"),
        (Pair(1, 2), [1, 2], ""),
        (deque([1]), [1], ""),
    ],
)
def test_these_differ_and_the_field_is_named(went_in: Any, came_back: Any, where: str) -> None:
    found = difference(went_in, came_back)

    assert found is not None
    assert (found.field, found.known) == (where, True)


def test_a_default_that_is_kept_out_of_the_json_differs_only_where_it_was_given() -> None:
    unset = Person(id=1)
    unset.cache["a"] = 1

    assert difference(unset, Person(id=1)) is None
    assert difference(Person(id=1, cache={"a": 1}), Person(id=1)) is not None


@pytest.mark.parametrize("kind", [Opaque, Quarrelsome])
def test_where_equality_says_nothing_the_difference_isnt_known(kind: type[Any]) -> None:
    found = difference({"a": kind(), "b": 1}, {"a": kind(), "b": 1})

    assert found is not None
    assert (found.field, found.known) == ("a", False)


def test_a_known_difference_goes_before_one_that_may_be_none() -> None:
    found = difference([Opaque(), {"a": Opaque()}, 1], [Opaque(), {"a": Opaque()}, 2])

    assert found is not None
    assert (found.field, found.known) == ("2", True)
