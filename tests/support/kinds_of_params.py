"""Kinds of params, each with a value: what becomes of it is the table in docs/jobs.md."""

import itertools
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PlainSerializer,
    RootModel,
    SecretStr,
    SerializeAsAny,
    StringConstraints,
    computed_field,
    model_validator,
)
from typing_extensions import TypedDict

T = TypeVar("T")

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


class Kind(NamedTuple):
    """A type of params, and a value that a caller passes."""

    name: str
    """As in the table: in Markdown."""
    type: Any
    value: Any


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 10


class Size(StrEnum):
    LARGE = "large"


class Place(NamedTuple):
    row: int
    seat: str


class Movie(TypedDict):
    title: str
    year: int


@dataclass
class Point:
    x: int
    y: int = 0


class Plain(BaseModel):
    text: str = "žluťoučký 🦆"
    count: int = 3
    ratio: float = 0.1
    on: bool = True
    nothing: str | None = None
    words: list[str] = ["a", ""]
    counts: dict[str, int] = {"a": 1}


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str


class Cat(BaseModel):
    name: str


class Owner(BaseModel):
    animal: Animal


class AnyOwner(BaseModel):
    animal: SerializeAsAny[Animal]


class EitherOwner(BaseModel):
    animal: Dog | Animal


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    size: int


class Square(BaseModel):
    kind: Literal["square"] = "square"
    size: int


class Drawing(BaseModel):
    shapes: list[Annotated[Circle | Square, Field(discriminator="kind")]]


class Keeps(BaseModel):
    model_config = ConfigDict(extra="allow")


class KeepsDates(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, date]


class Aliased(BaseModel):
    plain: int = Field(alias="Plain")
    different: int = Field(validation_alias="in", serialization_alias="out")


class Crossed(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    first: int = Field(alias="second")
    second: int = Field(alias="first")


class Needs(BaseModel):
    token: int = Field(exclude=True)


class MayHave(BaseModel):
    cache: int = Field(default=0, exclude=True)


class Rectangle(BaseModel):
    width: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.width**2


class Stamped(BaseModel):
    made: int = Field(default_factory=itertools.count().__next__)


class Counting(BaseModel):
    n: int

    @model_validator(mode="after")
    def count(self) -> "Counting":
        self.n += 1
        return self


class Positive(BaseModel):
    n: int = Field(gt=0)


class Numbers(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    value: float


class Base64(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


class Box(BaseModel, Generic[T]):
    content: T


class Tree(BaseModel):
    inner: "Tree | None" = None


def tree(levels: int) -> Tree:
    value = Tree()
    for _ in range(levels - 1):
        value = Tree(inner=value)
    return value


def broken() -> Positive:
    value = Positive(n=1)
    value.n = -1
    return value


Names = RootModel[list[str]]


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


ZURICH = ZoneInfo("Europe/Zurich")
DAY = date(2026, 1, 31)
MOMENT = datetime(2026, 1, 31, 12, 30, 15, 123456)  # noqa: DTZ001 - one of the kinds

KINDS = [
    # What comes back as it was
    Kind("a model of `str`, `int`, `float`, `bool`, `None`, lists and dicts", Plain, Plain()),
    Kind("a value without a model, such as `list[int]`", list[int], [1, 2]),
    Kind(
        "text with any characters but NUL and lone surrogates", str, 'ž 漢字 🦆 \\ " \n \x01 \x7f'
    ),
    Kind("a whole number of up to 4,300 digits", int, 10**4_299),
    Kind("a `float`", list[float], [0.1, 5e-324, 1.7976931348623157e308, 1e22, 1e23]),
    Kind("a `float` under `Any`", Any, [0.5, 1.0, 1e16, 1e22, 1e23, 1e-7, 1e300]),
    Kind("`Decimal`, with its zeros", Decimal, Decimal("1.500")),
    Kind("`bytes` that are UTF-8", bytes, "ž".encode()),
    Kind(
        "any `bytes`, with `ser_json_bytes` and `val_json_bytes` set", Base64, Base64(data=b"\xff")
    ),
    Kind(
        "`date`, `time`, `timedelta`",
        tuple[date, time, timedelta],
        (DAY, time(1, 2), timedelta(-1, 1)),
    ),
    Kind("a `datetime` without a zone", datetime, MOMENT),
    Kind(
        "`Enum`, `UUID`, `Path`, `IPv4Address`, `AnyUrl`, `complex`",
        tuple[Colour, UUID, Path, IPv4Address, AnyUrl, complex],
        (Colour.RED, ID, Path("a/b"), IPv4Address("1.2.3.4"), AnyUrl("http://a.b/"), 1 + 2j),
    ),
    Kind(
        "`tuple`, `set`, `frozenset`, `deque`, `NamedTuple`",
        tuple[tuple[int, str], set[int], frozenset[int], deque[int], Place],
        ((1, "a"), {1}, frozenset({2}), deque([3]), Place(1, "b")),
    ),
    Kind(
        "a dataclass, a `TypedDict`",
        tuple[Point, Movie],
        (Point(1, 2), Movie(title="M", year=1931)),
    ),
    Kind(
        "keys that are `int`, `float`, `bool`, `Decimal`, `date`, `UUID` or an `Enum`",
        tuple[
            dict[int, str],
            dict[float, str],
            dict[bool, str],
            dict[Decimal, str],
            dict[date, str],
            dict[UUID, str],
            dict[Colour, str],
        ],
        (
            {1: "a"},
            {0.5: "a"},
            {True: "a"},
            {Decimal("1.0"): "a"},
            {DAY: "a"},
            {ID: "a"},
            {Colour.RED: "a"},
        ),
    ),
    Kind("a union that JSON tells apart: `int | str`", list[int | str], [1, "1"]),
    Kind("a union with a discriminator", Drawing, Drawing(shapes=[Square(size=1), Circle(size=1)])),
    Kind(
        "a union of a model and its subclass",
        EitherOwner,
        EitherOwner(animal=Dog(name="Rex", breed="pug")),
    ),
    Kind(
        "a generic model, a `RootModel`, `Json[…]`",
        tuple[Box[date], Names, Json[list[int]]],
        (Box[date](content=DAY), Names(["a"]), "[1]"),
    ),
    Kind("a secret", SecretStr, "hunter2"),
    Kind("aliases, whether one or one for each direction", Aliased, {"Plain": 1, "in": 2}),
    Kind("a computed field", Rectangle, Rectangle(width=2)),
    Kind("a default that is made when the job is enqueued", Stamped, Stamped()),
    Kind(
        "a validator that changes nothing at a second time (strips, lowers)",
        Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True)],
        " Ada ",
    ),
    Kind('NaN, with `ser_json_inf_nan="strings"`', Numbers, Numbers(value=float("nan"))),
    Kind('`extra="allow"` with what JSON has', Keeps, {"more": [1, "a", None]}),
    Kind('`extra="allow"` with a type for the extra fields', KeepsDates, {"more": DAY}),
    Kind("200 levels", Any, nested(200)),
    Kind("a field with `exclude=True` that keeps its default", MayHave, {}),
    # What comes back a little different
    Kind("a `datetime` with a zone", datetime, MOMENT.replace(tzinfo=ZURICH)),
    Kind(
        "… in the hour that comes twice",
        datetime,
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZURICH),
    ),
    Kind(
        "a `tuple` where the type is `Any` or `Sequence`",
        Sequence[int],
        (1, 2),
    ),
    Kind("an `IntEnum` under `Any`", Any, Level.HIGH),
    Kind("a `StrEnum` under `Any`", Any, Size.LARGE),
    Kind("the order of a dict's keys", dict[str, int], {"bb": 1, "a": 2}),
    Kind("`-0.0`", float, -0.0),
    # What is refused
    Kind("NaN and infinity", float, float("inf")),
    Kind("text with NUL", str, "a\0"),
    Kind("text with a lone surrogate", Any, "\udc80"),
    Kind("a whole number of more than 4,300 digits", int, int("9" * 4_299) * 100),
    Kind("more than 200 levels", Any, nested(202)),
    Kind("a model in a model, more than 200 levels", Tree, tree(202)),
    Kind("`bytes` that aren't UTF-8", bytes, b"\xff"),
    Kind("`date`, `UUID`, `set`, a model or an `Enum` under `Any`", dict[str, Any], {"day": DAY}),
    Kind("keys that aren't text under `Any`", Any, {1: "a"}),
    Kind("keys that are tuples or `None`", dict[tuple[int, int], str], {(1, 2): "a"}),
    Kind('keys that are one key in JSON: `1` and `"1"`', dict[int | str, int], {1: 1, "1": 2}),
    Kind(
        "a subclass where its base is declared", Owner, Owner(animal=Dog(name="Rex", breed="pug"))
    ),
    Kind("… with `SerializeAsAny`", AnyOwner, AnyOwner(animal=Dog(name="Rex", breed="pug"))),
    Kind("a union of models with the same fields, its second one", Animal | Cat, Cat(name="Tom")),
    Kind("`date | str` with the text of a date", date | str, "2026-01-31"),
    Kind("`UUID | str` with the text of a UUID", UUID | str, str(ID)),
    Kind('`extra="allow"` with a `date`', Keeps, {"more": DAY}),
    Kind("aliases that are other fields' names", Crossed, Crossed(first=1, second=2)),
    Kind("a required field with `exclude=True`", Needs, Needs(token=1)),
    Kind("a value for a field with `exclude=True`", MayHave, MayHave(cache=1)),
    Kind(
        "a serializer that isn't its validator's inverse",
        Annotated[int, PlainSerializer(lambda n: n * 2)],
        1,
    ),
    Kind(
        "a serializer whose text the type doesn't read",
        Annotated[int, PlainSerializer(lambda n: f"number {n}")],
        1,
    ),
    Kind("a validator that changes the value each time", Counting, Counting(n=1)),
    Kind("a model that broke its constraint after it was made", Positive, broken()),
    Kind("a pattern with flags", re.Pattern[str], re.compile("a", re.IGNORECASE)),
    Kind("a function", Any, print),
]
