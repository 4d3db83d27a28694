"""What a job is: its name, schemas, handler and defaults. No database, no state."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar, get_args, get_type_hints

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


_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


@dataclass(frozen=True)
class JobDefinition(Generic[P, R]):
    """A job's code and defaults. Times are in seconds."""

    name: str
    params: Codec[P]
    result: Codec[R]
    handler: Callable[..., Any]
    is_async: bool
    takes_context: bool
    queue: str
    priority: int
    max_attempts: int
    timeout_seconds: float | None
    retry_policy: RetryPolicy
    runtime: PodRuntime | None
    runs_on: RunsOn | None

    def call(self, params: P, context: JobContext) -> Any:
        """Call the handler → its result, or a coroutine if the handler is async."""
        if self.takes_context:
            return self.handler(params, context)
        return self.handler(params)


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
    parameters, takes_context = _parameters(name, handler)
    if params_schema is None or result_schema is None:
        hints = _hints(name, handler, local_names)
        params_schema = params_schema or _annotation(name, hints, parameters[0].name, "params")
        result_schema = result_schema or _annotation(name, hints, "return", "result")
    return JobDefinition(
        name=name,
        params=Codec(params_schema, job_name=name, what="params", error=InvalidParamsError),
        result=Codec(result_schema, job_name=name, what="result", error=InvalidResultError),
        handler=handler,
        is_async=_is_async(handler),
        takes_context=takes_context,
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


def _parameters(name: str, handler: Callable[..., Any]) -> tuple[list[inspect.Parameter], bool]:
    if not callable(handler):
        raise InvalidJobDefinitionError(f"{name}: the handler {handler!r} isn't callable")
    parameters = inspect.signature(handler).parameters.values()
    positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    needed = [p for p in positional[2:] if p.default is p.empty]
    needed += [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if not positional or needed:
        raise InvalidJobDefinitionError(
            f"{name}: a handler takes (params) or (params, context), not"
            f" {inspect.signature(handler)}"
        )
    # A second argument with a default belongs to the handler, unless its name is `context`.
    second = positional[1] if len(positional) >= 2 else None
    takes_context = second is not None and (
        second.default is inspect.Parameter.empty or second.name == "context"
    )
    if takes_context and second is not None and not _may_be_context(second.annotation):
        raise InvalidJobDefinitionError(
            f"{name}: a handler's second argument is its JobContext, not"
            f" {second.name}: {second.annotation!r}; put what it needs into the params"
        )
    return positional, takes_context


def _may_be_context(annotation: Any) -> bool:
    """Return whether a parameter takes the context: it is annotated so, or not at all."""
    if annotation in {inspect.Parameter.empty, Any, object, JobContext}:
        return True
    return isinstance(annotation, str) and annotation.strip("\"'").rpartition(".")[2] not in {
        "int",
        "str",
        "float",
        "bool",
        "dict",
        "list",
    }


def _hints(
    name: str, handler: Callable[..., Any], local_names: Mapping[str, Any] | None
) -> dict[str, Any]:
    while isinstance(handler, functools.partial):
        handler = handler.func
    target = handler if inspect.isroutine(handler) else type(handler).__call__
    try:
        return get_type_hints(target, localns=dict(local_names or {}), include_extras=True)
    except Exception as error:
        raise InvalidJobDefinitionError(
            f"{name}: an annotation of the handler can't be resolved ({error}); define its types"
            " before the handler, or give params_schema= and result_schema="
        ) from error


def _annotation(name: str, hints: Mapping[str, Any], parameter: str, what: str) -> Any:
    if parameter not in hints:
        where = "return value" if parameter == "return" else f"argument {parameter!r}"
        raise InvalidJobDefinitionError(
            f"{name}: the handler's {where} has no annotation; annotate it with a pydantic model,"
            f" or give {what}_schema="
        )
    return hints[parameter]


def _is_async(handler: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - asks whether calling it gives a coroutine
    )
