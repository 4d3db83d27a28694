"""Log lines of the commands: on stderr, for people on a terminal, or as JSON for programs.

Every record of the standard library's logging is formatted so, also those of a user's own loggers
and of other libraries. Fields come from ``extra`` (``server_jobs.definition.logs``).
"""

from __future__ import annotations

import logging
import os
import sys
from enum import StrEnum
from typing import Any, TextIO

import structlog
from pydantic_core import to_json
from structlog.types import EventDict, Processor

from server_jobs.cli.heard import keep_being_heard, stderr_handler
from server_jobs.masks import mask_passwords
from server_jobs.records.text import without_controls


class LogFormat(StrEnum):
    """How log lines are written; ``auto`` is ``console`` on a terminal and ``json`` elsewhere."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure_logging(log_format: LogFormat, level: LogLevel) -> None:
    """Send every record of this process to stderr, in this format.

    An app that is imported later may do otherwise, but our warnings and errors are still written.
    """
    handler = stderr_handler()
    handler.setFormatter(formatter(log_format, sys.stderr))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    keep_being_heard(handler)


def formatter(log_format: LogFormat, stream: TextIO) -> logging.Formatter:
    """Return the formatter of lines for that stream. Colours are for terminals without NO_COLOR."""
    if log_format is LogFormat.AUTO:
        log_format = LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON
    if log_format is LogFormat.JSON:
        return json_formatter()
    return console_formatter(colors=stream.isatty() and not _no_color())


def json_formatter() -> logging.Formatter:
    """Return what makes a JSON object: event, timestamp (UTC), level, logger, and the fields."""
    return _MaskingFormatter(
        foreign_pre_chain=_chain(structlog.processors.TimeStamper(fmt="iso", utc=True)),
        processors=[
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(serializer=_serialise),
        ],
    )


def console_formatter(*, colors: bool) -> logging.Formatter:
    """Return what makes a line to read: local time, level, message, fields; tracebacks below it."""
    return _MaskingFormatter(
        foreign_pre_chain=_chain(structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Not rich's tracebacks: they show local variables, and with them passwords.
            structlog.processors.format_exc_info,
            _show_below,
            _without_controls,
            structlog.dev.ConsoleRenderer(
                colors=colors, exception_formatter=structlog.dev.plain_traceback, sort_keys=False
            ),
        ],
    )


class _MaskingFormatter(structlog.stdlib.ProcessorFormatter):
    """Masks passwords of database URLs in every line, whoever logged it."""

    def format(self, record: logging.LogRecord) -> str:
        return mask_passwords(super().format(record))


def _chain(stamp: Processor) -> list[Processor]:
    return [
        stamp,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.contextvars.merge_contextvars,
        _add_extra,
    ]


_extra_of = structlog.stdlib.ExtraAdder()


def _add_extra(logger: Any, method: str, event_dict: EventDict) -> EventDict:
    """Add the fields of ``extra``. One that has a name of ours, such as ``level``, gets a ``_``."""
    for name, value in _extra_of(logger, method, {"_record": event_dict["_record"]}).items():
        if name != "_record":
            event_dict[f"{name}_" if name in event_dict else name] = value
    return event_dict


def _show_below(logger: Any, method: str, event_dict: EventDict) -> EventDict:
    """Print the field ``traceback`` below the line, as that of an exception is."""
    text = event_dict.get("traceback")
    if isinstance(text, str) and "exception" not in event_dict:
        event_dict["exception"] = event_dict.pop("traceback").rstrip()
    return event_dict


def _without_controls(logger: Any, method: str, event_dict: EventDict) -> EventDict:
    """Let no text that is logged give orders to the terminal."""
    for name, value in event_dict.items():
        if isinstance(value, str):
            event_dict[name] = without_controls(value)
    return event_dict


def _serialise(document: Any, **_: Any) -> str:
    """Return the JSON of whatever a user logs; what has no JSON form is shown as its repr."""
    try:
        return to_json(document, fallback=repr, inf_nan_mode="strings").decode()
    except Exception:  # noqa: BLE001 - a cycle, an undecodable text: the line must not be lost
        return to_json({name: repr(value) for name, value in document.items()}).decode()


def _no_color() -> bool:
    return bool(os.environ.get("NO_COLOR"))
