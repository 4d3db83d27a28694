"""The last moment of a process."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
from typing import Any, NoReturn, TextIO, cast

_TO_WRITE_SECONDS = 5.0


def leave_after(seconds: float) -> None:
    """End the process after so many seconds, whatever runs, and print all stacks on stderr.

    The exit status is 1. A later call replaces an earlier one. It is for signal handlers, too.
    """
    # It is written in C, so that it does so whoever holds the interpreter's lock.
    faulthandler.dump_traceback_later(seconds, exit=True, file=_stderr())


def leave_now(status: int) -> NoReturn:
    """End the process at once, even if threads run that Python would wait for."""
    import logging  # whoever comes here has it; this module is for processes, too, that log nothing

    leave_after(_TO_WRITE_SECONDS)  # nobody may be reading what is written
    with contextlib.suppress(Exception):  # an app's handler may write to a stream that is full
        logging.shutdown()
    leave(status)


def leave(status: int) -> NoReturn:
    """End the process at once, with what was printed if that can be written."""
    for stream in (sys.stdout, sys.stderr):
        # It may be full, closed, taken away, or an object of a handler's that raises what it likes.
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(status & 0xFF)


def _stderr() -> TextIO:
    """Return a real file, which is what code in C needs."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, or it is closed
        stderr: Any = sys.__stderr__
        stderr.fileno()
        return cast(TextIO, stderr)
    return open(os.devnull, "w")
