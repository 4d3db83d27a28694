"""The call of a handler: interrupted when it is asked to stop, and awaited to its end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

from server_jobs.children import EndsForkedChildren
from server_jobs.definition.context import JobContext
from server_jobs.definition.definition import JobDefinition
from server_jobs.definition.stop_request import StopReason, StopRequest
from server_jobs.execution.own_task import OwnTask, cancellations_of_this_task

current_handler: contextvars.ContextVar[tuple[JobContext, StopRequest] | None] = (
    contextvars.ContextVar("server_jobs_handler", default=None)
)
"""The job whose handler's code runs. The handler's tasks, callbacks and threads inherit it."""


async def call_handler(
    definition: JobDefinition[Any, Any],
    params: Any,
    context: JobContext,
    stop_request: StopRequest,
    threads: Executor | None,
) -> Any:
    """Call an async handler in this task, or a plain one on a thread → what it returns.

    ``threads`` of None are those of the event loop's default executor. A stop request interrupts
    an async handler. A plain one can't be interrupted: it is awaited to its end, since a job that
    still does something isn't over.

    Raises what the handler raises, and CancelledError only where somebody asked for the end: by the
    stop request, or by cancelling this task.
    """
    cancellations = cancellations_of_this_task()
    current = current_handler.set((context, stop_request))
    try:
        if definition.is_async:
            return await _interruptible(definition.call(params, context), stop_request)
        value = await _on_thread(lambda: definition.call(params, context), stop_request, threads)
        # An async handler in a plain wrapper: what it returned has still to be awaited.
        return await _interruptible(value, stop_request) if inspect.isawaitable(value) else value
    except asyncio.CancelledError as error:
        if stop_request.reason is not None or cancellations_of_this_task() > cancellations:
            raise
        # Passed on, it would look as if our caller had been cancelled.
        raise RuntimeError(
            "the handler raised CancelledError, but nobody asked it to stop; something that it"
            " awaited was cancelled"
        ) from error
    except SystemExit as error:
        # Passed on, it would end the worker, and with it everybody else's handlers.
        raise RuntimeError(_called_exit("the handler", error)) from error
    finally:
        current_handler.reset(current)


def broke_out(error: SystemExit | KeyboardInterrupt, job: tuple[JobContext, StopRequest]) -> None:
    """Stop a handler, and fail its attempt: code that it left on the event loop ended the loop.

    Nothing happens to an attempt that is over.
    """
    if isinstance(error, SystemExit):
        what = _called_exit("a task or callback of the handler", error)
    else:
        what = "a task or callback of the handler raised KeyboardInterrupt, which ends event loops"
    job[1].make(StopReason.BROKE_OUT, _as_error(what, error))


def _called_exit(who: str, error: SystemExit) -> str:
    code = "" if error.code is None else repr(error.code)
    return (
        f"{who} called sys.exit({code}); a job ends by returning or by raising an error, its"
        " process goes on"
    )


async def _interruptible(handler: Awaitable[Any], stop_request: StopRequest) -> Any:
    """Await it in this task, which the stop request cancels."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    context = contextvars.copy_context()
    outside, before = cancellations_of_this_task(), 0 if task is None else task.cancelling()
    interrupted = False

    def cancel() -> None:
        nonlocal interrupted
        if task is not None and not ended:
            interrupted = True
            task.cancel()

    ended = False

    def interrupt() -> None:
        # In the handler's context: it isn't somebody outside who cancels the task.
        loop.call_soon_threadsafe(cancel, context=context)

    stop_request.interrupt_with(interrupt)
    try:
        with EndsForkedChildren():
            return await handler
    finally:
        ended = True
        stop_request.interrupt_with(None)
        if task is not None and interrupted:
            task.uncancel()
        if isinstance(task, OwnTask) and cancellations_of_this_task() == outside:
            await _take_back(task, before)


async def _take_back(task: OwnTask[Any], before: int) -> None:
    """Undo what a handler has done to its own task, which goes on: it has cancelled it.

    If it hasn't awaited since, the cancellation would be met by what comes after the handler.
    """
    if task.cancelling() == before:
        return
    while task.cancelling() > before:
        task.uncancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


async def _on_thread(
    call: Callable[[], Any], stop_request: StopRequest, threads: Executor | None
) -> Any:
    """Call it on a thread, and wait for its end even if this task is cancelled meanwhile."""

    def run() -> tuple[Any, BaseException | None]:
        # A returned exception: a future can't carry every kind (StopIteration would hang it).
        try:
            with EndsForkedChildren():
                return call(), None
        except KeyboardInterrupt as error:
            # Nobody's Ctrl-C: signals don't reach this thread.
            return None, _as_error("the handler raised KeyboardInterrupt on its thread", error)
        except BaseException as error:  # noqa: BLE001 - raised again where the handler is awaited
            return None, error

    in_context = contextvars.copy_context().run
    try:
        work = asyncio.get_running_loop().run_in_executor(threads, in_context, run)
    except RuntimeError:
        if threads is not None:
            raise
        # The interpreter ends, and starts no thread any more for what atexit has left to do.
        work = asyncio.get_running_loop().create_future()
        work.set_result(in_context(run))
    outside = cancellations_of_this_task()
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as interruption:
            if cancellations_of_this_task() > outside:  # the handler's own don't interrupt it
                cancelled = interruption
                stop_request.make(StopReason.CALLER)
    value, error = work.result()
    if cancelled is not None:
        raise cancelled from error
    if error is not None:
        raise error
    return value


def _as_error(message: str, cause: BaseException) -> RuntimeError:
    error = RuntimeError(message)
    error.__cause__ = cause
    return error


class TimeLimit:
    """Makes a stop request if its block takes longer than ``seconds``. None is no limit."""

    __slots__ = ("_seconds", "_stop_request", "_timer")

    def __init__(self, stop_request: StopRequest, seconds: float | None) -> None:
        self._stop_request = stop_request
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(
                self._seconds, self._stop_request.make, StopReason.TIMED_OUT
            )

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
