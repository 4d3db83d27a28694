"""The event loop of a process of ours, which goes on whatever a handler does to it.

``SystemExit`` and ``KeyboardInterrupt`` in a task or callback leave ``run_forever``, and so do
calls of ``loop.stop()``. In a process of ours the loop isn't a handler's: it is entered again.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from server_jobs.children import EndsForkedChildren
from server_jobs.execution.handler_call import broke_out, current_handler
from server_jobs.execution.own_task import OwnTask, is_of_an_execution

T = TypeVar("T")

_log = logging.getLogger("server_jobs.worker")

_STOPPED = "Event loop stopped before Future completed."
"""What run_until_complete says where the loop was stopped."""


def run_to_its_end(main: Coroutine[Any, Any, T]) -> T:
    """Run it on a new event loop, as ``asyncio.run`` does → what it returns.

    What a handler's task or callback raises to end the loop fails the handler's attempt. Ctrl-C
    ends it all, where no handler of the signal prevents that.
    """
    runner = asyncio.Runner()
    loop = runner.get_loop()
    loop.set_default_executor(_Threads(thread_name_prefix="asyncio"))
    for name in ("stop", "shutdown_default_executor"):
        setattr(loop, name, _not_for_handlers(name, getattr(loop, name)))
    task = OwnTask(main, name="main", loop=loop)
    try:
        while not task.done():
            try:
                loop.run_until_complete(task)
            except BaseException as error:  # what isn't a handler's is raised again
                if loop.is_closed():
                    raise
                if not task.done():
                    _go_on(error)
        return task.result()
    finally:
        try:
            runner.close()
        except (SystemExit, KeyboardInterrupt) as error:
            _go_on(error)


class _Threads(ThreadPoolExecutor):
    """Ends children that are forked on its threads, for instance within ``asyncio.to_thread``.

    They would wait here for ever for the next call, which comes to their parent.
    """

    def submit(self, call: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        def called() -> T:
            with EndsForkedChildren():
                return call(*args, **options)

        return super().submit(called)


def _go_on(error: BaseException) -> None:
    """Fail the attempt of the handler that ended the loop. Raises what isn't a handler's."""
    context = _context_of(error)
    job = None if context is None else context.get(current_handler)
    if job is not None and isinstance(error, (SystemExit, KeyboardInterrupt)):
        _log.error(
            "job %s (%s): a task or callback of its handler raised %s",
            job[0].job_id,
            job[0].job_name,
            type(error).__name__,
            exc_info=error,
        )
        broke_out(error, job)
    elif isinstance(error, SystemExit) or str(error) == _STOPPED:
        _log.error("something tried to end the event loop, which goes on", exc_info=error)
    elif context is None or not is_of_an_execution(context):
        raise error
    # Else an attempt has failed by it, and that has been said.


def _context_of(error: BaseException) -> contextvars.Context | None:
    """Return the context in which asyncio ran the code that raised it."""
    trace = error.__traceback__
    while trace is not None:
        handle = trace.tb_frame.f_locals.get("self")
        if isinstance(handle, asyncio.Handle):
            # get_context() is 3.12's.
            context: contextvars.Context = handle._context  # type: ignore[attr-defined]
            return context
        trace = trace.tb_next
    return None


def _not_for_handlers(name: str, method: Callable[..., T]) -> Callable[..., T]:
    def guarded(*arguments: Any, **options: Any) -> T:
        if current_handler.get() is not None:
            raise RuntimeError(
                f"a handler can't call {name}() of the event loop: other jobs and the worker itself"
                " use it"
            )
        return method(*arguments, **options)

    return guarded
