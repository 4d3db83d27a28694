"""An app that silences logging as it is imported, in the way that the environment names."""

import logging.config
import os
from typing import Any

from server_jobs import create_job_registry, define_job

WAYS: dict[str, dict[str, Any]] = {
    "disabled": {"version": 1, "root": {"level": "CRITICAL", "handlers": []}},
    "high level": {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"level": "CRITICAL", "handlers": ["console"]},
    },
    "high level of the handler": {
        "version": 1,
        "handlers": {"console": {"class": "logging.StreamHandler", "level": "CRITICAL"}},
        "root": {"level": "INFO", "handlers": ["console"]},
    },
    "null": {
        "version": 1,
        "handlers": {"null": {"class": "logging.NullHandler"}},
        "root": {"level": "INFO", "handlers": ["null"]},
    },
    "nothing at all": {"version": 1},
    "its own": {
        "version": 1,
        "formatters": {"own": {"format": "OWN %(levelname)s %(message)s"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "own"}},
        "root": {"level": "INFO", "handlers": ["console"]},
    },
    "ours by its name": {"version": 1, "loggers": {"server_jobs": {"level": "CRITICAL"}}},
}
"""Configurations for ``dictConfig``, which disables loggers unless it is told not to."""

WAY_SETTING = "TEST_SILENT_APP_WAY"


@define_job(name="Failing", max_attempts=1)
async def failing(params: None) -> None:
    raise LookupError("there is nothing here")


registry = create_job_registry().register(failing)

if os.environ.get(WAY_SETTING) == "disable()":
    logging.disable(logging.CRITICAL)
elif WAY_SETTING in os.environ:
    logging.config.dictConfig(WAYS[os.environ[WAY_SETTING]])
