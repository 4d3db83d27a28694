"""Hears the signals that ask this process to end, whatever keeps it busy."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType

from server_jobs.children import apart_from_children

_OVER = b"\0"  # no signal has this number

OnMainThread = Callable[[int, FrameType | None], None]
OnThread = Callable[[int], None]


def end_signals() -> list[signal.Signals]:
    """Return the signals that ask this process to end; SIGHUP is that of a closed terminal."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)  # `nohup` has it ignored
    return numbers


class Signals:
    """Within this block, two functions are told of each of these signals, by two means.

    By default these are all that ask a process to end.

    The interpreter notes a signal in C. It writes a byte into a pipe, which a thread reads: so
    ``on_thread`` is called even while a library's code keeps the main thread, if it lets others
    run. And it calls ``on_main_thread`` in between two steps of the main thread's Python: so that
    is called even while a library lets no other thread run, if it looks for signals, as a regular
    expression does. That one interrupts whatever runs there: it may neither log nor wait.

    ``on_thread`` is told of SIGINT in any case: who leaves that to Python learns of it there.
    Forked children hear nothing. It is entered on the main thread; blocks may be nested.
    """

    def __init__(
        self,
        on_main_thread: OnMainThread,
        on_thread: OnThread,
        numbers: Iterable[signal.Signals] | None = None,
    ) -> None:
        self._on_main_thread = on_main_thread
        self._on_thread = on_thread
        self._numbers = end_signals() if numbers is None else list(numbers)
        self._heard = {*self._numbers, signal.SIGINT}
        self._process_id = os.getpid()
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> None:
        self._process_id = os.getpid()
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        self._undo.enter_context(apart_from_children())
        self._undo.callback(os.write, writer, _OVER)
        former = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._undo.callback(signal.set_wakeup_fd, former)
        for number in self._numbers:
            self._undo.callback(signal.signal, number, signal.signal(number, self._interrupted))
        threading.Thread(
            target=self._listen, args=(reader, writer), name="server-jobs-signals", daemon=True
        ).start()

    def __exit__(self, *_: object) -> None:
        if os.getpid() == self._process_id:
            self._undo.close()

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._process_id:
            self._on_main_thread(number, frame)
        else:  # a child of C code that forks without telling Python
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _listen(self, reader: int, writer: int) -> None:
        while (heard := os.read(reader, 1)) != _OVER:
            if heard[0] in self._heard:  # others have handlers of their own
                self._on_thread(heard[0])
        os.close(reader)
        os.close(writer)
