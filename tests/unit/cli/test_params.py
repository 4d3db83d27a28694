"""From ``--param`` to typed params."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import typer
from pydantic import AliasChoices, BaseModel, Field, SecretStr, model_validator

from server_jobs import Job, define_job
from server_jobs.cli.params import build_params
from server_jobs.errors import InvalidParamsError


class Address(BaseModel):
    city: str
    lines: list[str] = []


class Order(BaseModel):
    number: int
    urgent: bool = False
    due: datetime | None = None
    items: list[str] = []
    sizes: set[int] | None = None
    address: Address | None = None
    counts: dict[str, int] = {}
    anything: Any = None
    card: SecretStr = SecretStr("")
    city: str = Field("", validation_alias=AliasChoices("town", "place"))


def job_of(model: Any) -> Job[Any, Any]:
    def handler(params: Any) -> None: ...

    return define_job(name="Order", params_schema=model, result_schema=type(None), handler=handler)


def params(*given: str, text: str = "{}", model: Any = Order) -> Any:
    return build_params(job_of(model), text, given)


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        (["urgent=yes"], "urgent", True),
        (["due=2026-01-02T00:00:00Z"], "due", datetime(2026, 1, 2, tzinfo=UTC)),
        (["due:=null"], "due", None),
        (["items=tea", "items=jam"], "items", ["tea", "jam"]),
        (["items=tea"], "items", ["tea"]),
        (["sizes=3"], "sizes", {3}),
        (['items:=["tea"]'], "items", ["tea"]),
        (["address.city=Lviv"], "address", Address(city="Lviv")),
        (["address.city=Lviv", "address.lines=a"], "address", Address(city="Lviv", lines=["a"])),
        (["counts.tea=2", "counts.jam:=3"], "counts", {"tea": 2, "jam": 3}),
        (["anything=1"], "anything", "1"),
        (["anything:=1"], "anything", 1),
        (["anything=a=b:=c"], "anything", "a=b:=c"),
        (["anything="], "anything", ""),
        (["card=4111"], "card", SecretStr("4111")),
        (["town=Lviv"], "city", "Lviv"),
        (["city=Lviv"], "city", "Lviv"),
    ],
)
def test_value_becomes_what_its_type_reads(given: list[str], name: str, value: object) -> None:
    assert getattr(params("number=1", *given), name) == value


def test_param_goes_before_the_json() -> None:
    order = params("number=2", "address.city=Kyiv", text='{"number": 1, "address": {"lines": []}}')

    assert order == Order(number=2, address=Address(city="Kyiv"))


def test_params_need_no_model() -> None:
    @dataclass
    class Point:
        x: int
        y: tuple[int, ...] = ()

    assert params("x=1", "y=2", model=Point) == Point(1, (2,))
    assert params("a=1", model=dict[str, int]) == {"a": 1}
    assert params(text="[1, 2]", model=list[int]) == [1, 2]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["number=x"], "number: "),
        (["number=1", "number=2"], "number: "),
        (["number=1", "address.lines=a"], "address.city: "),
        (["number=1", "itmes=x"], "no 'itmes'; did you mean 'items'?"),
    ],
)
def test_param_that_does_not_fit_is_named(given: list[str], said: str) -> None:
    with pytest.raises(InvalidParamsError) as caught:
        params(*given)

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["number"], "name=text"),
        (["=1"], "name=text"),
        (["address..city=x"], "address..city"),
        (["number:=x"], "isn't followed by JSON"),
        (["number=1", "number.x=1"], "has a value already"),
    ],
)
def test_what_is_no_param_is_a_usage_error(given: list[str], said: str) -> None:
    with pytest.raises(typer.BadParameter, match=said):
        params(*given)


@pytest.mark.parametrize("given", [["card"], ["card:=hunter2"], ["number=x", "card=hunter2"]])
def test_value_is_never_quoted(given: list[str]) -> None:
    with pytest.raises((typer.BadParameter, InvalidParamsError)) as caught:
        params(*given)

    assert "hunter2" not in str(caught.value)


def test_params_that_are_no_object_are_not_added_to() -> None:
    with pytest.raises(InvalidParamsError, match="adds to an object"):
        params("a=1", text="[1]", model=list[int])


def test_name_that_a_models_own_validator_may_read_is_let_through() -> None:
    class Renamed(BaseModel):
        number: int

        @model_validator(mode="before")
        @classmethod
        def _old_name(cls, data: dict[str, Any]) -> dict[str, Any]:
            return {"number": data.get("nummer", 0)}

    assert params("nummer=3", model=Renamed).number == 3
