"""What a job is: its name, schemas, handler and defaults. No database, no state."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import UnionType
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Generic,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from server_jobs.definition.codec import Codec
from server_jobs.definition.context import JobContext
from server_jobs.definition.options import (
    RunsOn,
    check_max_attempts,
    check_priority,
    check_text,
    check_timeout,
    seconds_of,
)
from server_jobs.errors import (
    InvalidJobDefinitionError,
    InvalidOptionError,
    InvalidParamsError,
    InvalidResultError,
)
from server_jobs.records.backoff import RetryPolicy
from server_jobs.records.names import NAME, QUEUE
from server_jobs.records.runtime import PodRuntime

P = TypeVar("P")
R = TypeVar("R")


_CONTEXT_IN_TEXT = re.compile(rf"\b{JobContext.__name__}\b")
_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


@dataclass(frozen=True)
class JobDefinition(Generic[P, R]):
    """A job's code and defaults. Times are in seconds."""

    name: str
    params: Codec[P]
    result: Codec[R]
    handler: Callable[..., Any]
    is_async: bool
    context_argument: inspect.Parameter | None
    queue: str
    priority: int
    max_attempts: int
    timeout_seconds: float | None
    retry_policy: RetryPolicy
    runtime: PodRuntime | None
    runs_on: RunsOn | None

    def call(self, params: P, context: JobContext) -> Any:
        """Call the handler → its result, or a coroutine if the handler is async."""
        argument = self.context_argument
        if argument is None:
            return self.handler(params)
        if argument.kind is inspect.Parameter.KEYWORD_ONLY:
            return self.handler(params, **{argument.name: context})
        return self.handler(params, context)


def make_definition(
    handler: Callable[..., Any],
    *,
    name: str | None,
    params_schema: Any,
    result_schema: Any,
    local_names: Mapping[str, Any] | None,
    queue: str = "default",
    priority: int = 0,
    max_attempts: int = 3,
    timeout: timedelta | float | None = None,
    retry_policy: RetryPolicy | None = None,
    runtime: PodRuntime | None = None,
    runs_on: RunsOn | None = None,
) -> JobDefinition[Any, Any]:
    """Check what a user declared and infer the rest. Raises InvalidJobDefinitionError."""
    if name is None:
        name = getattr(handler, "__name__", None)
        if name is None:
            raise InvalidJobDefinitionError(f"{handler!r} has no name of its own: give name=")
    try:
        check_text("name", name, name or handler, NAME)
        check_text("queue", queue, name, QUEUE)
        check_priority(priority, name)
        check_max_attempts(max_attempts, name)
        timeout_seconds = None if timeout is None else seconds_of(timeout, "timeout", name)
        check_timeout(timeout_seconds, name)
        _check_runs_on(runs_on, runtime, name)
    except InvalidOptionError as error:
        raise InvalidJobDefinitionError(str(error)) from None
    code = _code_of(name, handler)
    signature = _signature(handler)
    params_argument, context_argument = _arguments(name, signature, code, local_names)
    if params_schema is None:
        where = f"argument {params_argument.name!r}"
        params_schema = _schema(
            name, params_argument.annotation, where, "params", code, local_names
        )
    if result_schema is None:
        result_schema = _schema(
            name, signature.return_annotation, "return value", "result", code, local_names
        )
    return JobDefinition(
        name=name,
        params=Codec(params_schema, job_name=name, what="params", error=InvalidParamsError),
        result=Codec(result_schema, job_name=name, what="result", error=InvalidResultError),
        handler=handler,
        is_async=inspect.iscoroutinefunction(code),
        context_argument=context_argument,
        queue=queue,
        priority=priority,
        max_attempts=max_attempts,
        timeout_seconds=timeout_seconds,
        retry_policy=retry_policy or RetryPolicy(),
        runtime=runtime,
        runs_on=runs_on,
    )


def _check_runs_on(value: object, runtime: PodRuntime | None, job_name: str) -> None:
    backends = get_args(RunsOn)
    if value is not None and value not in backends:
        raise InvalidOptionError(
            f"{job_name}: runs_on={value!r} is none of {', '.join(map(repr, backends))}; without"
            " it, any backend may execute the job"
        )
    if runtime is not None and value not in {None, "kubernetes"}:
        raise InvalidOptionError(
            f"{job_name}: runtime= asks for a pod, and runs_on={value!r} has none"
        )


def _code_of(name: str, handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function or method that is called by a call of the handler."""
    if not callable(handler):
        raise InvalidJobDefinitionError(f"{name}: the handler {handler!r} isn't callable")
    code = handler
    while isinstance(code, functools.partial):
        code = code.func
    if isinstance(code, type):
        if "__call__" in vars(code):
            raise InvalidJobDefinitionError(
                f"{name}: the handler is the class {code.__qualname__}, a call of which makes an"
                f" object and does nothing more; give an object of it: {code.__qualname__}(…)"
            )
    elif not inspect.isroutine(code):
        code = type(code).__call__
    if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        raise InvalidJobDefinitionError(
            f"{name}: the handler has a `yield`, so that calling it executes nothing; let it return"
            " one result (a list, for instance), and report what it does on the way by"
            " context.update_progress()"
        )
    return code


def _signature(handler: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        import annotationlib

        # What is imported for type checkers only can't be evaluated.
        return inspect.signature(handler, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(handler)


def _arguments(
    name: str,
    signature: inspect.Signature,
    code: Callable[..., Any],
    local_names: Mapping[str, Any] | None,
) -> tuple[inspect.Parameter, inspect.Parameter | None]:
    """Return what takes the params, and what takes the context, if anything does."""
    parameters = signature.parameters.values()
    positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    candidates = positional[1:2] + [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    context: inspect.Parameter | None = None
    for each in candidates:
        if _takes_context(each, code, local_names):
            context = each
            break
    needed = [p for p in candidates + positional[2:] if p.default is p.empty and p is not context]
    if needed and needed[0] in positional[1:2] and len(needed) == 1:
        raise InvalidJobDefinitionError(
            f"{name}: a handler's second argument is its JobContext, not"
            f" {needed[0].name}: {needed[0].annotation!r}; put what it needs into the params"
        )
    if not positional or needed:
        raise InvalidJobDefinitionError(
            f"{name}: a handler takes (params) or (params, context), not {signature}"
        )
    return positional[0], context


def _takes_context(
    parameter: inspect.Parameter,
    code: Callable[..., Any],
    local_names: Mapping[str, Any] | None,
) -> bool:
    """Return whether an argument that isn't the params is given the context.

    It is annotated so; or not at all, or by what can't be told, if it is needed or is called so.
    """
    annotation = parameter.annotation
    with contextlib.suppress(Exception):  # it may be imported for type checkers only
        annotation = _resolved(annotation, code, local_names)
    if _names_the_context(annotation):
        return True
    cannot_be_told = isinstance(annotation, str | ForwardRef)
    if not cannot_be_told and annotation not in (parameter.empty, Any, object):
        return False
    if parameter.name in {"context", "ctx"}:
        return True
    # An argument with a default, and one that is given by its name, is the handler's own.
    return parameter.default is parameter.empty and parameter.kind in _POSITIONAL


def _names_the_context(annotation: Any) -> bool:
    """Return whether an annotation is JobContext, or that or something else, resolved or not."""
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        return _CONTEXT_IN_TEXT.search(annotation) is not None
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _names_the_context(arguments[0])
    if origin in {Union, UnionType}:
        return any(map(_names_the_context, arguments))
    return annotation is JobContext


def _resolved(
    annotation: Any, code: Callable[..., Any], local_names: Mapping[str, Any] | None
) -> Any:
    """Return an annotation as a type. Raises what evaluating its text raises."""

    def annotated() -> None: ...

    annotated.__annotations__ = {"it": annotation}
    names = getattr(inspect.unwrap(code), "__globals__", {})
    local_names = dict(local_names or {})
    return get_type_hints(annotated, names, local_names, include_extras=True)["it"]


def _schema(
    name: str,
    annotation: Any,
    where: str,
    what: str,
    code: Callable[..., Any],
    local_names: Mapping[str, Any] | None,
) -> Any:
    if annotation is inspect.Parameter.empty:
        raise InvalidJobDefinitionError(
            f"{name}: the handler's {where} has no annotation; annotate it with a pydantic model,"
            f" or give {what}_schema="
        )
    try:
        return _resolved(annotation, code, local_names)
    except Exception as error:
        raise InvalidJobDefinitionError(
            f"{name}: an annotation of the handler can't be resolved ({error}); define its types"
            " before the handler, and not for type checkers only, or give params_schema= and"
            " result_schema="
        ) from error
