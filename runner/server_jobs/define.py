"""From a function to a job."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol, TypeVar, overload

from server_jobs.definition.context import JobContext
from server_jobs.definition.definition import RunsOn, make_definition
from server_jobs.errors import InvalidJobDefinitionError
from server_jobs.job import Job
from server_jobs.records.retry import RetryPolicy
from server_jobs.records.runtime import PodRuntime

P = TypeVar("P")
R = TypeVar("R")


class _JobDecorator(Protocol):
    """What ``define_job(...)`` returns: turns a handler into a job of its types."""

    @overload
    def __call__(self, handler: Callable[[P, JobContext], Awaitable[R]], /) -> Job[P, R]: ...
    @overload
    def __call__(self, handler: Callable[[P], Awaitable[R]], /) -> Job[P, R]: ...
    @overload
    def __call__(self, handler: Callable[[P, JobContext], R], /) -> Job[P, R]: ...
    @overload
    def __call__(self, handler: Callable[[P], R], /) -> Job[P, R]: ...


@overload
def define_job(function: Callable[[P, JobContext], Awaitable[R]], /) -> Job[P, R]: ...
@overload
def define_job(function: Callable[[P], Awaitable[R]], /) -> Job[P, R]: ...
@overload
def define_job(function: Callable[[P, JobContext], R], /) -> Job[P, R]: ...
@overload
def define_job(function: Callable[[P], R], /) -> Job[P, R]: ...
@overload
def define_job(
    *,
    name: str | None = None,
    queue: str = "default",
    priority: int = 0,
    max_attempts: int = 3,
    timeout: timedelta | float | None = None,
    retry_policy: RetryPolicy | None = None,
    runtime: PodRuntime | None = None,
    runs_on: RunsOn | None = None,
) -> _JobDecorator: ...
@overload
def define_job(
    *,
    name: str,
    params_schema: type[P],
    result_schema: type[R],
    handler: Callable[[P, JobContext], Awaitable[R]]
    | Callable[[P], Awaitable[R]]
    | Callable[[P, JobContext], R]
    | Callable[[P], R],
    queue: str = "default",
    priority: int = 0,
    max_attempts: int = 3,
    timeout: timedelta | float | None = None,
    retry_policy: RetryPolicy | None = None,
    runtime: PodRuntime | None = None,
    runs_on: RunsOn | None = None,
) -> Job[P, R]: ...
def define_job(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    params_schema: Any = None,
    result_schema: Any = None,
    handler: Callable[..., Any] | None = None,
    queue: str = "default",
    priority: int = 0,
    max_attempts: int = 3,
    timeout: timedelta | float | None = None,
    retry_policy: RetryPolicy | None = None,
    runtime: PodRuntime | None = None,
    runs_on: RunsOn | None = None,
) -> Any:
    """Define a job: with ``@define_job``, ``@define_job(…)`` or ``handler=``.

    A handler is ``async def`` or plain ``def`` (which runs on a thread), and takes the params
    and, if it likes, a :class:`JobContext`. Schemas are read off its annotations unless they are
    given.

    ``max_attempts`` counts the first one. ``timeout`` (a timedelta or seconds) is how long one
    attempt may take; by default as long as it likes. ``retry_policy`` says how long to wait
    between attempts. ``queue`` and ``priority`` are what ``later`` uses unless told otherwise.
    ``runtime`` is what the job asks of its pod, where Kubernetes executes it.
    ``runs_on`` keeps the job to one backend, ``"kubernetes"``, ``"edge"`` or ``"local"``: workers
    of another kind leave it to that one, a pod gives it back with the reason, and a Cloudflare
    Worker refuses to be built with it. ``now`` and ``batch`` execute here whatever it says.

    Raises InvalidJobDefinitionError.
    """
    frame = sys._getframe(1)
    local_names = frame.f_locals if frame.f_locals is not frame.f_globals else None

    def define(handler: Callable[..., Any]) -> Job[Any, Any]:
        return Job(
            make_definition(
                handler,
                name=name,
                params_schema=params_schema,
                result_schema=result_schema,
                local_names=local_names,
                queue=queue,
                priority=priority,
                max_attempts=max_attempts,
                timeout=timeout,
                retry_policy=retry_policy,
                runtime=runtime,
                runs_on=runs_on,
            )
        )

    if function is not None:
        _check_decorated(function, name, handler)
        return define(function)
    if handler is not None:
        return define(handler)
    if params_schema is not None or result_schema is not None:
        raise InvalidJobDefinitionError(
            f"{name}: params_schema= and result_schema= go with handler=; a decorated function"
            " has its annotations"
        )
    return define


def _check_decorated(function: object, name: str | None, handler: object) -> None:
    if not callable(function) or handler is not None:
        raise InvalidJobDefinitionError(
            f"define_job takes one function and else options by name, not {function!r}; for"
            f" instance define_job(name={name or 'SendEmail'!r})"
        )
