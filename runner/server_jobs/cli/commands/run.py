"""``run``: executes one job that was claimed for this process, and ends.

The entrypoint of a pod. Every pod pays for what is imported here, so the options are argparse's
and log lines are formatted by what is imported when there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence

from server_jobs.cli.app_loader import load_registry
from server_jobs.database import DATABASE_URL_VARIABLE, connect, url_from_environment
from server_jobs.errors import (
    ConfigurationError,
    DatabaseNotConfiguredError,
    SchemaError,
    ServerJobsError,
)
from server_jobs.launches.launch import SCHEMA_MISMATCH_STATUS
from server_jobs.launches.runner import Ending, Runner, RunnerConfig
from server_jobs.launches.signals import Signals
from server_jobs.records.ids import random_suffix
from server_jobs.records.outcomes import MAX_LAUNCH_FAILURES, MAX_RELEASES
from server_jobs.records.requests import DEFAULT_LEASE
from server_jobs.records.rows import Claim

_log = logging.getLogger("server_jobs.runner")

_DESCRIPTION = """\
Execute one job that was claimed for this process, settle its record, and end:
what a Kubernetes pod runs. Where somebody else has it, nothing is done.

server-jobs run --app myapp.jobs:registry --job-id 0197a3c2-5b1e-7f04-8c11-2f6a7d5e9b10 --fence 1
"""
_EPILOG = """\
SIGTERM asks the handler to stop and gives the job back.

Exit status: 0 the record is settled, or there was nothing to do; 1 it couldn't
be settled; 2 used wrongly; 78 the tables are too new or too old for this release.
"""

FORMATS = ("auto", "console", "json")
LEVELS = ("debug", "info", "warning", "error")


def parser() -> argparse.ArgumentParser:
    """The options, their defaults from the environment."""
    parser = argparse.ArgumentParser(
        prog="server-jobs run",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--job-id", required=True, metavar="ID", help="which record")
    add("--fence", required=True, type=int, metavar="N", help="the fence of its claim")
    add(
        "--app",
        default=os.environ.get("SERVER_JOBS_APP"),
        metavar="MODULE:REGISTRY",
        help="where your jobs are (SERVER_JOBS_APP)",
    )
    add(
        "--worker-id",
        default=os.environ.get("SERVER_JOBS_WORKER_ID"),
        metavar="TEXT",
        help="what the lease is held under; unique to this process (SERVER_JOBS_WORKER_ID)",
    )
    add(
        "--lease",
        default=os.environ.get("SERVER_JOBS_LEASE", f"{DEFAULT_LEASE:g}"),
        type=float,
        metavar="SECONDS",
        help="how long after this process's death the job goes to another one, 300 by default"
        " (SERVER_JOBS_LEASE)",
    )
    add(
        "--grace",
        default=os.environ.get("SERVER_JOBS_GRACE", "30"),
        type=float,
        metavar="SECONDS",
        help="what the handler gets to end in once it is to stop, 30 by default"
        " (SERVER_JOBS_GRACE)",
    )
    add(
        "--max-launch-failures",
        default=os.environ.get("SERVER_JOBS_MAX_LAUNCH_FAILURES", str(MAX_LAUNCH_FAILURES)),
        type=int,
        metavar="N",
        help="how often the job may fail to begin before it fails, 10 by default"
        " (SERVER_JOBS_MAX_LAUNCH_FAILURES)",
    )
    add(
        "--max-releases",
        default=os.environ.get("SERVER_JOBS_MAX_RELEASES", str(MAX_RELEASES)),
        type=int,
        metavar="N",
        help="how often in a row the job may be given back before it fails, 10 by default"
        " (SERVER_JOBS_MAX_RELEASES)",
    )
    add(
        "--log-format",
        default=os.environ.get("SERVER_JOBS_LOG_FORMAT", "auto").lower(),
        choices=FORMATS,
        help="auto is console on a terminal and JSON lines elsewhere (SERVER_JOBS_LOG_FORMAT)",
    )
    add(
        "--log-level",
        default=os.environ.get("SERVER_JOBS_LOG_LEVEL", "info").lower(),
        choices=LEVELS,
        help="the least that is worth a line (SERVER_JOBS_LOG_LEVEL)",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run with these arguments → the exit status."""
    options = parser().parse_args(arguments)
    _configure_logging(options.log_format, options.log_level)
    try:
        with Signals() as signals:
            ending = asyncio.run(_run(options, signals))
    except ServerJobsError as error:
        fields = {"job_id": options.job_id, "fence": options.fence}
        _log.error("job %s: %s", options.job_id, error, extra=fields)
        if isinstance(error, SchemaError):
            return SCHEMA_MISMATCH_STATUS
        return 2 if isinstance(error, ConfigurationError) else 1
    return 1 if ending is Ending.LOST else 0


async def _run(options: argparse.Namespace, signals: Signals) -> Ending:
    url = url_from_environment()
    if not url:
        raise DatabaseNotConfiguredError(
            f"{DATABASE_URL_VARIABLE} is not set: a pod gets it from a Secret; there is no option"
            " for it, since options can be read by whoever lists processes"
        )
    own = f"runner/{socket.gethostname()}/{os.getpid()}/{random_suffix()}"
    config = RunnerConfig(
        options.worker_id or own,
        options.lease,
        options.grace,
        options.max_launch_failures,
        options.max_releases,
    )
    database = connect(url)
    try:
        return await Runner(
            database,
            Claim(options.job_id, options.fence),
            load_registry=lambda: load_registry(options.app),
            config=config,
            signals=signals,
        ).run()
    finally:
        await database.close()


class _Later(logging.Formatter):
    """The formatter that the other commands use, made for the first line."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._formatter: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        if self._formatter is None:
            from server_jobs.cli.logs import LogFormat, formatter

            self._formatter = formatter(LogFormat(self._name), sys.stderr)
        return self._formatter.format(record)


def _configure_logging(log_format: str, level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Later(log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
