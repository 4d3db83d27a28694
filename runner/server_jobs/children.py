"""Lets forked children begin anew: they hear no signals for their parent, and don't go on as it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from server_jobs.deadline import leave

# What a new interpreter does on the signals that ask it to end. Windows lacks one of them.
_DEFAULTS: dict[int, Any] = {
    getattr(signal, name): default
    for name, default in (
        ("SIGTERM", signal.SIG_DFL),
        ("SIGINT", signal.default_int_handler),
        ("SIGHUP", signal.SIG_DFL),
    )
    if hasattr(signal, name)
}


@contextlib.contextmanager
def apart_from_children() -> Iterator[None]:
    """Keep children that are forked within this block apart from this process.

    In such a child the signals that ask a process to end do what they do in any new process, and
    no signal is written into a descriptor that its parent reads. If the child goes on into its
    parent's event loop, it ends.
    """
    block = object()
    _blocks.append(block)
    try:
        yield
    finally:
        if block in _blocks:  # in a child it no longer is
            _blocks.remove(block)


class EndsForkedChildren:
    """Ends a child that is forked within this block, once it comes to the block's end.

    A handler is called in such a block: what it returns or raises in a child must not be taken for
    the end of its parent's job. The exit status is that of the child's ``sys.exit()``; otherwise
    it is 1 for an error and 0 for a return.
    """

    __slots__ = ("_process_id",)

    def __enter__(self) -> None:
        self._process_id = os.getpid()

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        if os.getpid() != self._process_id:
            leave(_status(error))


def _status(error: BaseException | None) -> int:
    match error:
        case None | SystemExit(code=None):
            return 0
        case SystemExit(code=int(number)):
            return number
        case SystemExit(code=text):
            _say(str(text))
        case _:
            # Without the message, which nobody has searched for secrets.
            where = "".join(traceback.format_tb(error.__traceback__))
            _say(f"{where}a forked child of a handler ends by {type(error).__name__}")
    return 1


_blocks: list[object] = []


class _Forking(threading.local):
    """What a thread that forks hands on to its child."""

    mask: Any = None
    """The signals that were blocked before, if we block some until the fork is over."""
    loop: Any = None


_forking = _Forking()


def _before_fork() -> None:
    # A signal that comes between the fork and the end of our work in the child waits for that.
    _forking.mask = _forking.loop = None
    if _blocks:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULTS)
        _forking.loop = _running_loop()


def _after_fork_in_parent() -> None:
    mask, _forking.mask = _forking.mask, None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_child() -> None:
    mask, _forking.mask = _forking.mask, None
    # Another thread may have left its block, or entered one, since we looked before the fork.
    if mask is None and not _blocks:
        return
    signal.set_wakeup_fd(-1)  # it is the parent's, whoever has set it
    for number, default in _DEFAULTS.items():
        if callable(signal.getsignal(number)):
            signal.signal(number, default)
    _blocks.clear()
    if _forking.loop is not None:
        # Handlers fork within a task. This runs once the child's task awaits something, or ends.
        _forking.loop.call_soon(_went_on)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _running_loop() -> Any:
    asyncio = sys.modules.get("asyncio")  # most commands fork nothing and shan't import it
    return None if asyncio is None else asyncio._get_running_loop()


def _went_on() -> None:
    _say(
        "a forked child of a handler went on into the event loop of its parent: it ends here. Let"
        " it run an event loop of its own, or use multiprocessing"
    )
    leave(1)


def _say(text: str) -> None:
    # Not by logging: a thread that isn't here may have held its locks, or those of an import.
    with contextlib.suppress(OSError):
        os.write(2, f"server-jobs: {text}\n".encode(errors="replace"))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
