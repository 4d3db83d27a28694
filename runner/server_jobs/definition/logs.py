"""Structured log lines, through the standard library's logging.

A library must not decide where lines go: they are records of the logger ``server_jobs`` with the
fields in ``extra``. The command line formats them (``server_jobs.cli.logs``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import structlog


def get_logger(name: str = "server_jobs", **fields: Any) -> structlog.stdlib.BoundLogger:
    """A structlog logger on top of the standard one of that name."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        **fields,
    )
    return logger


class JobLog:
    """A handler's logger. ``data`` is a mapping of fields, or any one value."""

    def __init__(self, **fields: Any) -> None:
        present = {name: value for name, value in fields.items() if value is not None}
        self._logger = get_logger("server_jobs.handler", **present)

    def info(self, message: str, data: object = None) -> None:
        """Say what is going on."""
        self._logger.info(message, **_fields(data))

    def warn(self, message: str, data: object = None) -> None:
        """Say what may be wrong."""
        self._logger.warning(message, **_fields(data))

    def error(self, message: str, data: object = None) -> None:
        """Say what is wrong."""
        self._logger.error(message, **_fields(data))


def _fields(data: object) -> dict[str, Any]:
    if data is None:
        return {}
    return {"data": dict(data) if isinstance(data, Mapping) else data}
