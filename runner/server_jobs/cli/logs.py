"""Where log lines go: to stderr, for people on a terminal or as JSON for machines.

Everything that goes through the standard library's logging is formatted alike, a user's own
loggers and other libraries' included. Fields come from ``extra`` (``server_jobs.definition.logs``).
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

from server_jobs.cli.masks import mask_passwords


class LogFormat(StrEnum):
    """How lines look."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least that is worth a line."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure_logging(log_format: LogFormat, level: LogLevel) -> None:
    """Send every record of this process to stderr, in this format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(log_format, sys.stderr))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def formatter(log_format: LogFormat, stream: TextIO) -> logging.Formatter:
    """What formats lines for that stream."""
    if log_format is LogFormat.AUTO:
        log_format = LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON
    if log_format is LogFormat.JSON:
        return json_formatter()
    return console_formatter(colors=stream.isatty() and not _no_color())


def json_formatter() -> logging.Formatter:
    """One JSON object per line: event, timestamp (UTC), level, logger, and the fields."""
    return _MaskingFormatter(
        foreign_pre_chain=_chain(structlog.processors.TimeStamper(fmt="iso", utc=True)),
        processors=[
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(serializer=_serialise),
        ],
    )


def console_formatter(*, colors: bool) -> logging.Formatter:
    """A line to read: local time, level, message, and the fields behind it."""
    return _MaskingFormatter(
        foreign_pre_chain=_chain(structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Not rich's tracebacks: they show local variables, and with them passwords.
            structlog.dev.ConsoleRenderer(
                colors=colors, exception_formatter=structlog.dev.plain_traceback, sort_keys=False
            ),
        ],
    )


class _MaskingFormatter(structlog.stdlib.ProcessorFormatter):
    """Whatever is logged, by whomever: no database password gets out."""

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
    """The fields of ``extra``; one that has a name of ours stands beside it, under ``name_``."""
    for name, value in _extra_of(logger, method, {"_record": event_dict["_record"]}).items():
        if name != "_record":
            event_dict[f"{name}_" if name in event_dict else name] = value
    return event_dict


def _serialise(document: Any, **_: Any) -> str:
    """JSON of whatever a user logs; what has no JSON form is shown as its repr."""
    try:
        return to_json(document, fallback=repr, inf_nan_mode="strings").decode()
    except Exception:  # noqa: BLE001 - a cycle, an undecodable text: the line must not be lost
        return to_json({name: repr(value) for name, value in document.items()}).decode()


def _no_color() -> bool:
    return bool(os.environ.get("NO_COLOR"))
