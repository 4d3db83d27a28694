"""Loggers of structlog's that write through the standard library's logging.

A library doesn't decide where lines go: what is logged becomes a record of a logger below
``server_jobs``, with the fields as ``extra``. The command line formats such records
(``server_jobs.cli.logs``); a program of your own does it as it likes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.stdlib import BoundLogger
from structlog.types import EventDict

_OF_A_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime"}
_ARGUMENTS_OF_LOGGING = {"exc_info", "stack_info", "stacklevel"}
_REFUSED_BY_LOGGING = _OF_A_RECORD - _ARGUMENTS_OF_LOGGING


def get_logger(name: str = "server_jobs", **fields: Any) -> BoundLogger:
    """Return a logger on top of the standard one of that name; each line carries the fields."""
    logger: BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            _positional_as_data,
            _rename_refused,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=BoundLogger,
        context_class=dict,
    ).bind(**fields)
    return logger


def job_logger(**fields: Any) -> BoundLogger:
    """Return a handler's logger. Fields that are None are left out."""
    present = {name: value for name, value in fields.items() if value is not None}
    return get_logger("server_jobs.handler", **present)


def _positional_as_data(logger: Any, method: str, event_dict: EventDict) -> EventDict:
    """Make ``log.info("read", 5)`` a message and a field ``data``: no message is a %-format."""
    values = event_dict.pop("positional_args", ())
    data = values[0] if len(values) == 1 else values
    if values and data is not None:
        event_dict["data"] = dict(data) if isinstance(data, Mapping) else data
    return event_dict


def _rename_refused(logger: Any, method: str, event_dict: EventDict) -> EventDict:
    """Add ``_`` to a field that a record has anyway, such as ``name``: logging would raise."""
    for name in _REFUSED_BY_LOGGING & event_dict.keys():
        event_dict[f"{name}_"] = event_dict.pop(name)
    return event_dict
