"""``define_job``: makes a job of a function."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, Unpack, overload

from server_jobs.definition.context import JobContext
from server_jobs.definition.definition import make_definition
from server_jobs.definition.options import JobOptions
from server_jobs.errors import InvalidJobDefinitionError
from server_jobs.job import Job

P = TypeVar("P")
R = TypeVar("R")


class _JobDecorator(Protocol):
    """The decorator that ``define_job(...)`` returns; it makes a job of a handler."""

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
def define_job(*, name: str | None = None, **options: Unpack[JobOptions]) -> _JobDecorator: ...
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
    **options: Unpack[JobOptions],
) -> Job[P, R]: ...
def define_job(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    params_schema: Any = None,
    result_schema: Any = None,
    handler: Callable[..., Any] | None = None,
    **options: Unpack[JobOptions],
) -> Any:
    """Define a job: with ``@define_job``, ``@define_job(…)`` or ``handler=``.

    A handler is ``async def`` or plain ``def``; a plain one runs on a thread. It takes the params
    and, optionally, a :class:`JobContext`. Its type annotations are the schemas, unless
    ``params_schema`` and ``result_schema`` are given.

    The other options are ``queue`` and ``priority`` (the defaults of ``later``), ``max_attempts``
    (3; the first one counts), ``timeout`` (the time limit of one attempt, a timedelta or seconds;
    by default there is none), ``retry_policy`` (how long to wait between attempts), ``runtime``
    (what the job asks of its pod, where Kubernetes executes it) and ``runs_on``.

    ``runs_on`` keeps the job to one backend, ``"kubernetes"``, ``"edge"`` or ``"local"``: workers
    of another kind leave it to that one, a pod gives it back with the reason, and a Cloudflare
    Worker refuses to be built with it. ``now`` and ``batch`` execute in the calling process,
    whatever ``runs_on`` says.

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
                **options,
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
