"""Sees to it that failures reach stderr, whatever the app and its handlers do to it and to logging.

An app may configure logging as it is imported, or later: then its handlers and formats are used.
But what is configured for all loggers, such as a high level of the root's or
``disable_existing_loggers``, isn't meant for the failures of jobs. Only a level that is set for a
logger of ours, by its name, holds for those, too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import weakref
from typing import ClassVar, TextIO

OURS = "server_jobs"
_THE_USERS = "server_jobs.handler"
"""What handlers log themselves."""
_NAMES = (
    "database",
    "group_commit",
    "leases",
    "retention",
    "runner",
    "scheduler",
    "store",
    "worker",
)
"""Our loggers. Some are of modules that a process imports only when it needs them, as drivers."""


def keep_being_heard(voice: logging.Handler) -> None:
    """Let warnings and errors of our loggers be written by ``voice`` where nothing else does."""
    _Heard.voice = voice
    for name in _NAMES:
        logging.getLogger(f"{OURS}.{name}")
    for name, logger in logging.root.manager.loggerDict.items():
        is_ours = name == OURS or name.startswith(f"{OURS}.")
        if is_ours and name != _THE_USERS and isinstance(logger, logging.Logger):
            logger.__class__ = _Heard


def stderr_handler() -> logging.Handler:
    """Return what writes log lines to stderr, also after something has closed ``sys.stderr``."""
    try:
        return _StderrHandler(sys.stderr)
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file
        return logging.StreamHandler(sys.stderr)


class _StderrHandler(logging.Handler):
    """Writes lines to a descriptor that nobody else knows of, and so nobody closes."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._descriptor = os.dup(stream.fileno())
        self._encoding, self._errors = stream.encoding, stream.errors or "backslashreplace"
        # Not in close(): dictConfig closes all handlers that there are.
        weakref.finalize(self, os.close, self._descriptor)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode(self._encoding, self._errors)
            while line:
                line = line[os.write(self._descriptor, line) :]
        except Exception:  # noqa: BLE001 - as every handler of logging's does
            with contextlib.suppress(Exception):
                self.handleError(record)


class _Heard(logging.Logger):
    """A logger whose warnings and errors are always written, and which never raises."""

    voice: ClassVar[logging.Handler]

    @property
    def disabled(self) -> bool:
        """Never true: ``dictConfig`` disables every logger that it doesn't name."""
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None: ...

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        if level < logging.WARNING or self._own_level() > level:
            return super().isEnabledFor(level)
        return True

    def handle(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and not self._is_taken(record.levelno):
            if self.filter(record):
                self.voice.handle(record)
            return
        try:
            super().handle(record)
        except Exception:  # noqa: BLE001 - the app's, or it writes to a file that is closed
            self.voice.handle(record)

    def _own_level(self) -> int:
        """Return the level that was set for this logger, or for one of ours above it; else 0."""
        logger: logging.Logger | None = self
        while logger is not None and logger.name.startswith(OURS):
            if logger.level:
                return logger.level
            logger = logger.parent
        return logging.NOTSET

    def _is_taken(self, level: int) -> bool:
        """Return whether a handler of logging's writes records of that level."""
        logger: logging.Logger | None = self
        while logger is not None:
            for handler in logger.handlers:
                if handler.level <= level and not isinstance(handler, logging.NullHandler):
                    return True
            logger = logger.parent if logger.propagate else None
        return False
