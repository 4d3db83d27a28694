"""Tasks that the handlers beside them can't cancel."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_execution: contextvars.ContextVar[OwnTask[Any] | None] = contextvars.ContextVar(
    "server_jobs_execution", default=None
)
"""The task that executes the handler whose code runs: tasks and threads of the handler's inherit
it.
"""


class OwnTask(asyncio.Task[T]):
    """A task of ours on an event loop that we share with handlers: a worker's, or an execution.

    A handler may cancel whatever it has begun, and itself. If it cancels a task of ours, for
    instance all that ``asyncio.all_tasks()`` returns, it is told so by a RuntimeError. With
    ``executes``, the task is that of an execution, and what it calls is a handler's code.

    It must be made on the thread of a loop, which is the running one by default.
    """

    def __init__(
        self,
        work: Coroutine[Any, Any, T],
        *,
        name: str,
        executes: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        context = contextvars.copy_context()
        # A handler may run a worker of its own, for instance in a test: it may end that one.
        self._maker = _execution.get()
        self._outside = 0
        if executes:
            context.run(_execution.set, self)
        # Not by create_task(): the loop's owner may have it begin tasks at once.
        super().__init__(work, loop=loop or asyncio.get_running_loop(), name=name, context=context)

    def cancel(self, msg: Any = None) -> bool:
        """Cancel it. Raises RuntimeError for a handler whose task this isn't."""
        by = _execution.get()
        if by is not self:
            if by is not None and by is not self._maker:
                raise RuntimeError(
                    f"a handler can't cancel the task {self.get_name()!r}, which isn't its own:"
                    " other jobs and the worker itself run beside it"
                )
            self._outside += 1
        return super().cancel(msg)

    def uncancel(self) -> int:
        """Take one cancellation back → how many are left. Its handler's own are taken back first.

        A handler may do so with one that came from outside, as the scopes of anyio do.
        """
        left = super().uncancel()
        self._outside = min(self._outside, left)
        return left

    @property
    def cancelled_from_outside(self) -> int:
        """How often code that isn't its own handler's has asked it to end, and still does."""
        return self._outside


def is_of_an_execution(context: contextvars.Context) -> bool:
    """Return whether that is the context of a task that executes, or of what it has begun."""
    return context.get(_execution) is not None


def cancellations_of_this_task() -> int:
    """Return how often this task has been asked to end, and still is.

    What a handler asks of its own execution doesn't count, where that is an ``OwnTask``.
    """
    task = asyncio.current_task()
    if isinstance(task, OwnTask):
        return task.cancelled_from_outside
    return 0 if task is None else task.cancelling()


def is_current(task: asyncio.Task[Any] | None) -> bool:
    """Return whether that task runs just now. If it doesn't, Python closes its coroutine."""
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False
