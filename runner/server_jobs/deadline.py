"""The last moment of a process."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
from typing import Any, TextIO, cast


def leave_after(seconds: float) -> None:
    """End the process after so many seconds, whatever runs, and print all stacks on stderr.

    The exit status is 1. A later call replaces an earlier one. It is for signal handlers, too.
    """
    # It is written in C, so that it does so whoever holds the interpreter's lock.
    faulthandler.dump_traceback_later(seconds, exit=True, file=_stderr())


def _stderr() -> TextIO:
    """Return a real file, which is what code in C needs."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, or it is closed
        stderr: Any = sys.__stderr__
        stderr.fileno()
        return cast(TextIO, stderr)
    return open(os.devnull, "w")
