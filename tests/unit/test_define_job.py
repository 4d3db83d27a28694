"""What can be made a job, in both spellings, and what is said about what can't."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest
from pydantic import BaseModel, Field

from server_jobs import JobContext, PodRuntime, RetryPolicy, create_job_context, define_job
from server_jobs.errors import InvalidJobDefinitionError, InvalidParamsError, InvalidResultError

if TYPE_CHECKING:
    from pydantic import BaseModel as Unresolvable

    from server_jobs import JobContext as OnlyChecked


class Order(BaseModel):
    item: str
    count: int = 1


class Receipt(BaseModel):
    text: str


async def buy(params: Order, context: JobContext) -> Receipt:
    return Receipt(text=f"{params.count} {params.item} on attempt {context.attempt}")


async def buy_without_context(params: Order) -> Receipt:
    return Receipt(text=f"{params.count} {params.item} on attempt 1")


def buy_plainly(params: Order, context: JobContext) -> Receipt:
    return Receipt(text=f"{params.count} {params.item} on attempt {context.attempt}")


def buy_plainly_without_context(params: Order) -> Receipt:
    return Receipt(text=f"{params.count} {params.item} on attempt 1")


class Shop:
    async def __call__(self, params: Order, context: JobContext) -> Receipt:
        return await buy(params, context)


class PlainShop:
    def __call__(self, params: Order) -> Receipt:
        return buy_plainly_without_context(params)

    async def method(self, params: Order, context: JobContext) -> Receipt:
        return await buy(params, context)


def logged(handler: Callable[[Order], Awaitable[Receipt]]) -> Callable[[Order], Awaitable[Receipt]]:
    """A plain wrapper around an async handler, as decorators often are."""

    @functools.wraps(handler)
    def wrapper(params: Order) -> Awaitable[Receipt]:
        return handler(params)

    return wrapper


HANDLERS = {
    "partial of a callable object": functools.partial(Shop()),
    "async": buy,
    "async without context": buy_without_context,
    "plain": buy_plainly,
    "plain without context": buy_plainly_without_context,
    "async callable object": Shop(),
    "plain callable object": PlainShop(),
    "bound method": PlainShop().method,
    "partial": functools.partial(buy),
    "async in a plain wrapper": logged(buy_without_context),
}
each_handler = pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS)


@each_handler
async def test_handler_given_with_its_schemas(handler: Any) -> None:
    job = define_job(name="Buy", params_schema=Order, result_schema=Receipt, handler=handler)

    assert await job({"item": "tea"}) == Receipt(text="1 tea on attempt 1")


@each_handler
async def test_decorated_handler_whose_schemas_are_read_off_it(handler: Any) -> None:
    job = define_job(name="Buy")(handler)

    assert await job(Order(item="tea", count=2)) == Receipt(text="2 tea on attempt 1")


def test_name_defaults_to_the_functions() -> None:
    assert define_job()(buy).name == "buy"


def test_defaults_and_settings_are_the_definitions() -> None:
    plain = define_job()(buy).definition
    policy = RetryPolicy.fixed(3)
    chosen = define_job(
        name="Buy",
        queue="shop",
        priority=-5,
        max_attempts=7,
        timeout=timedelta(minutes=2),
        retry_policy=policy,
    )(buy).definition

    assert (plain.queue, plain.priority, plain.max_attempts) == ("default", 0, 3)
    assert (plain.timeout_seconds, plain.retry_policy) == (None, RetryPolicy())
    assert (chosen.queue, chosen.priority, chosen.max_attempts) == ("shop", -5, 7)
    assert (chosen.timeout_seconds, chosen.retry_policy) == (120.0, policy)


async def test_local_classes_are_found_where_annotations_are_text() -> None:
    class LocalOrder(BaseModel):
        item: str

    class LocalReceipt(BaseModel):
        item: str

    @define_job()
    async def copy(params: LocalOrder) -> LocalReceipt:
        return LocalReceipt(item=params.item)

    assert await copy({"item": "tea"}) == LocalReceipt(item="tea")


async def test_params_and_results_need_not_be_models() -> None:
    @define_job()
    def total(numbers: list[int]) -> Annotated[int, Field(le=10)]:
        return sum(numbers)

    @define_job()
    async def nothing(params: None) -> None: ...

    assert await total(numbers_of([1, 2])) == 3
    await nothing(None)
    with pytest.raises(InvalidResultError, match="total: result don't fit"):
        await total(numbers_of([11]))


def numbers_of(numbers: list[int]) -> list[int]:
    return numbers


async def test_calling_a_job_calls_its_handler_with_the_context_given() -> None:
    job = define_job()(buy)
    context = create_job_context(job_name="Buy", attempt=4)

    assert (await job({"item": "tea"}, context)).text == "1 tea on attempt 4"


async def test_calling_a_job_validates_both_ways() -> None:
    @define_job()
    async def wrong(params: Order) -> Receipt:
        return params  # type: ignore[return-value]

    with pytest.raises(InvalidParamsError, match=r"wrong: .*\n  count: .*\(got 'many'\)"):
        await wrong({"item": "tea", "count": "many"})
    with pytest.raises(InvalidResultError, match="wrong: result"):
        await wrong({"item": "tea"})


async def test_calling_a_job_lets_the_handlers_own_error_through() -> None:
    @define_job()
    def broken(params: Order) -> Receipt:
        raise LookupError(params.item)

    with pytest.raises(LookupError, match="tea"):
        await broken({"item": "tea"})


async def test_mapping_that_a_handler_returns_becomes_the_result() -> None:
    @define_job(name="Loose")
    async def loose(params: Order) -> Receipt:
        return {"text": params.item}  # type: ignore[return-value]

    assert await loose({"item": "tea"}) == Receipt(text="tea")


# ── the context ──────────────────────────────────────────────────────────────────────────────


async def with_a_default(params: Order, ctx: JobContext | None = None) -> Receipt:
    return Receipt(text=f"attempt {ctx and ctx.attempt}")


async def with_optional(params: Order, job: Optional[JobContext] = None) -> Receipt:  # noqa: UP045
    return Receipt(text=f"attempt {job and job.attempt}")


async def annotated(params: Order, it: Annotated[JobContext, "what it is"]) -> Receipt:
    return Receipt(text=f"attempt {it.attempt}")


async def by_its_name(params: Order, *, job: JobContext) -> Receipt:
    return Receipt(text=f"attempt {job.attempt}")


async def by_its_name_with_a_default(
    params: Order, count: int = 1, *, job: JobContext | None = None
) -> Receipt:
    return Receipt(text=f"attempt {job and job.attempt}")


async def not_annotated(params: Order, ctx=None) -> Receipt:  # type: ignore[no-untyped-def]
    return Receipt(text=f"attempt {ctx and ctx.attempt}")


async def for_type_checkers(params: Order, run: OnlyChecked) -> Receipt:
    return Receipt(text=f"attempt {run.attempt}")


async def for_type_checkers_with_a_default(
    params: Order, context: OnlyChecked | None = None
) -> Receipt:
    return Receipt(text=f"attempt {context and context.attempt}")


async def beside_what_is_for_type_checkers(
    params: Order, context: JobContext, more: Unresolvable | None = None
) -> Receipt:
    return Receipt(text=f"attempt {context.attempt}")


@pytest.mark.parametrize(
    "handler",
    [
        with_a_default,
        with_optional,
        annotated,
        by_its_name,
        by_its_name_with_a_default,
        not_annotated,
        for_type_checkers,
        for_type_checkers_with_a_default,
        beside_what_is_for_type_checkers,
    ],
)
async def test_context_is_given_however_it_is_asked_for(handler: Any) -> None:
    job = define_job()(handler)

    assert await job({"item": "tea"}, create_job_context(attempt=4)) == Receipt(text="attempt 4")


@pytest.mark.parametrize(
    "annotation",
    ["JobContext", "server_jobs.JobContext", "JobContext | None", "Annotated[JobContext, 1]"],
)
async def test_context_that_is_imported_for_type_checkers_only_is_known_by_its_name(
    annotation: str,
) -> None:
    module: dict[str, Any] = {}
    source = f"""
from __future__ import annotations
from typing import Annotated

async def handler(params: int, anything: {annotation} = None) -> str:
    return f"attempt {{anything.attempt}}"
"""
    exec(source, module)  # a module that imports no JobContext

    job = define_job(name="Tried")(module["handler"])

    assert await job(1, create_job_context(attempt=4)) == "attempt 4"


async def test_what_could_hold_a_context_is_not_given_one() -> None:
    @define_job()
    async def handler(params: Order, others: dict[str, JobContext] | None = None) -> str:
        return repr(others)

    assert await handler({"item": "tea"}) == "None"


# ── what can't be a job ──────────────────────────────────────────────────────────────────────


async def without_annotation(params) -> Receipt:  # type: ignore[no-untyped-def]
    return Receipt(text=params.item)


async def without_result(params: Order):  # type: ignore[no-untyped-def]
    return params


async def unresolvable(params: Missing) -> Receipt:  # type: ignore[name-defined] # noqa: F821
    return Receipt(text=params.item)


async def unresolvable_attribute(params: pytest.Missing) -> Receipt:  # type: ignore[name-defined]
    return Receipt(text=params.item)


async def misspelled(params: "list[") -> Receipt:  # type: ignore[valid-type]  # noqa: F722
    return Receipt(text="")


async def no_argument() -> Receipt:
    return Receipt(text="")


async def three_arguments(params: Order, context: JobContext, more: int) -> Receipt:
    return Receipt(text=f"{params}{context}{more}")


async def only_keywords(*, params: Order) -> Receipt:
    return Receipt(text=params.item)


async def required_keyword(params: Order, *, shop: str) -> Receipt:
    return Receipt(text=params.item + shop)


async def unknown_type(params: object()) -> Receipt:  # type: ignore[valid-type]
    return Receipt(text="")


async def async_generator(params: Order) -> AsyncIterator[Receipt]:
    yield Receipt(text=params.item)


def generator(params: Order) -> Iterator[Receipt]:
    yield Receipt(text=params.item)


class Yielding:
    __name__ = "Yielding"

    def __call__(self, params: Order) -> Iterator[Receipt]:
        yield Receipt(text=params.item)


@pytest.mark.parametrize(
    "handler", [async_generator, generator, functools.partial(generator), Yielding()]
)
def test_generator_makes_no_job(handler: Any) -> None:
    with pytest.raises(InvalidJobDefinitionError, match=r"Buy: .*`yield`.* return one result"):
        define_job(name="Buy")(handler)


def test_class_whose_objects_are_handlers_is_no_handler_itself() -> None:
    with pytest.raises(InvalidJobDefinitionError, match=r"Buy: .*give an object of it: Shop\(…\)"):
        define_job(name="Buy")(Shop)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("handler", "way_out"),
    [
        (without_annotation, "'params' has no annotation; annotate it .* or give params_schema="),
        (without_result, "return value has no annotation; annotate it .* or give result_schema="),
        (unresolvable, "'Missing' is not defined.* or give params_schema= and result_schema="),
        (unresolvable_attribute, "Missing.* or give params_schema= and result_schema="),
        (misspelled, "can't be resolved .* or give params_schema= and result_schema="),
        (no_argument, r"takes \(params\) or \(params, context\), not \(\)"),
        (three_arguments, r"takes \(params\) or \(params, context\), not \(params.*more"),
        (only_keywords, r"takes \(params\) or \(params, context\), not \(\*, params"),
        (required_keyword, r"takes \(params\) or \(params, context\), not .*shop"),
        (unknown_type, "can't make a params schema|can't be resolved"),
    ],
)
def test_wrong_handler_makes_no_job(handler: Any, way_out: str) -> None:
    with pytest.raises(InvalidJobDefinitionError, match=rf"^{handler.__name__}: .*{way_out}"):
        define_job()(handler)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": ""}, "name='' isn't text of 1 to 255 bytes"),
        ({"name": "x" * 256}, "1 to 255 bytes"),
        ({"name": "ü" * 128}, "1 to 255 bytes"),
        ({"name": "a\nb"}, "without control characters"),
        ({"queue": "default, mail"}, "queue='default, mail' isn't text .* without blanks, commas"),
        ({"queue": "a\u00a0b"}, "without blanks, commas"),
        ({"name": "a\0b"}, "control characters"),
        ({"name": "a\udc80"}, "isn't text"),
        ({"name": 5}, "name=5"),
        ({"queue": ""}, "queue=''"),
        ({"queue": "q\udc80"}, "queue="),
        ({"priority": 32_768}, "from -32768 to 32767"),
        ({"priority": 1.5}, "isn't a whole number"),
        ({"priority": True}, "isn't a whole number"),
        ({"max_attempts": 0}, "from 1 to 1000"),
        ({"max_attempts": 1_001}, "from 1 to 1000"),
        ({"max_attempts": "3"}, "isn't a whole number"),
        ({"timeout": "5m"}, "timeout='5m' is neither a timedelta nor a number of seconds"),
        ({"timeout": 0}, "timeout of 0 s isn't more than 0"),
        ({"timeout": timedelta(seconds=-1)}, "timeout of -1.0 s"),
        ({"timeout": timedelta(days=367)}, "at most 366 days"),
        ({"timeout": float("nan")}, "timeout of nan"),
    ],
)
def test_wrong_setting_makes_no_job(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidJobDefinitionError, match=says):
        define_job(**settings)(buy)


def test_what_has_no_name_is_asked_for_one() -> None:
    with pytest.raises(InvalidJobDefinitionError, match="has no name of its own: give name="):
        define_job()(Shop())


def test_handler_that_cannot_be_called_makes_no_job() -> None:
    wrong: Any = "not callable"
    with pytest.raises(InvalidJobDefinitionError, match="Buy: the handler 'not callable' isn't"):
        define_job(name="Buy", params_schema=Order, result_schema=Receipt, handler=wrong)


def test_schemas_without_a_handler_are_asked_to_come_with_one() -> None:
    define: Any = define_job
    with pytest.raises(InvalidJobDefinitionError, match="go with handler=; a decorated function"):
        define(name="Buy", params_schema=Order)


def test_schema_that_pydantic_does_not_know_makes_no_job() -> None:
    schema: Any = object()
    with pytest.raises(InvalidJobDefinitionError, match="Buy: pydantic can't make a result schema"):
        define_job(name="Buy", params_schema=Order, result_schema=schema, handler=buy)


async def test_second_argument_with_a_default_of_its_own_is_not_the_context() -> None:
    @define_job(name="Verbose")
    def handler(params: Order, verbose: bool = False) -> str:
        return repr(verbose)

    assert await handler(Order(item="tea")) == "False"


def test_second_argument_that_cannot_be_the_context_is_refused() -> None:
    def handler(params: Order, count: int) -> str:
        return str(count)

    untyped: Any = handler  # a type checker refuses it too

    with pytest.raises(InvalidJobDefinitionError, match="second argument is its JobContext"):
        define_job(name="Counted")(untyped)


# ── without parentheses ──────────────────────────────────────────────────────────────────────


async def test_decorator_needs_no_parentheses() -> None:
    @define_job
    async def double(params: int) -> int:
        return 2 * params

    assert double.name == "double"
    assert (await double.now(21, persist=False)).data == 42


def test_local_types_are_found_without_parentheses_too() -> None:
    class Local(BaseModel):
        number: int

    @define_job
    def take(params: Local) -> None: ...

    assert take.definition.params.validate({"number": 1}) == Local(number=1)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [(("SendEmail",), {}), ((buy,), {"handler": buy}), ((5,), {"name": "N"})],
)
def test_what_is_no_function_is_told_how_options_are_given(
    arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    define: Any = define_job
    with pytest.raises(InvalidJobDefinitionError, match=r"define_job\(name="):
        define(*arguments, **options)


@pytest.mark.parametrize("amount", ["0", "0Mi", "0.0"])
def test_nothing_is_no_amount_of_memory(amount: str) -> None:
    with pytest.raises(InvalidJobDefinitionError, match=f"memory='{amount}' is no amount"):
        PodRuntime(memory=amount)
