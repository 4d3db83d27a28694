"""Params of every shape that pydantic knows, and values for them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal
from uuid import UUID

from hypothesis import strategies as st
from pydantic import BaseModel, Field


class Colour(Enum):
    RED = "red"
    BLUE = 2


class Level(IntEnum):
    LOW = 1
    HIGH = 10


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    radius: Decimal


class Square(BaseModel):
    kind: Literal["square"] = "square"
    side: float


@dataclass(frozen=True)
class Point:
    x: int
    y: int


class Everything(BaseModel):
    moment: datetime
    day: date
    clock: time
    span: timedelta
    amount: Decimal
    identity: UUID
    blob: bytes
    colour: Colour
    level: Level
    shape: Circle | Square = Field(discriminator="kind")
    either: int | str | None
    numbers: set[int]
    tags: frozenset[str]
    pair: tuple[int, str]
    point: Point
    by_id: dict[UUID, list[Circle]]
    ratio: float
    huge: int
    anything: dict[str, Any]


# What every database can hold: no NUL, no lone surrogates.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
decimals = st.decimals(allow_nan=False, allow_infinity=False)
floats = st.floats(allow_nan=False, allow_infinity=False)
circles = st.builds(Circle, radius=decimals)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=5,
)
everything = st.builds(
    Everything,
    moment=st.datetimes(timezones=st.just(UTC) | st.none()),
    day=st.dates(),
    clock=st.times(),
    span=st.timedeltas(timedelta(days=-1000), timedelta(days=1000)),
    amount=decimals,
    identity=st.uuids(),
    blob=texts.map(str.encode),
    colour=st.sampled_from(Colour),
    level=st.sampled_from(Level),
    shape=circles | st.builds(Square, side=floats),
    either=st.integers() | texts | st.none(),
    numbers=st.sets(st.integers()),
    tags=st.frozensets(texts),
    pair=st.tuples(st.integers(), texts),
    point=st.builds(Point, x=st.integers(), y=st.integers()),
    by_id=st.dictionaries(st.uuids(), st.lists(circles, max_size=2), max_size=2),
    ratio=floats,
    huge=st.integers(-(10**40), 10**40),
    anything=st.dictionaries(texts, json_values, max_size=3),
)
