"""``run``: executes one job that was claimed for this process, and ends.

A pod runs this command. Every pod waits for the imports here, so the options are argparse's, and
the formatter of log lines is imported when the first line is logged.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from server_jobs.cli.app_loader import load_registry
from server_jobs.cli.heard import keep_being_heard, stderr_handler
from server_jobs.cli.own_loop import run_to_its_end
from server_jobs.cli.settings import NO_VARIABLE, SECONDS, Setting, settings_of
from server_jobs.database import DATABASE_URL_VARIABLE, connect, url_from_environment
from server_jobs.errors import (
    ConfigurationError,
    DatabaseNotConfiguredError,
    SchemaError,
    ServerJobsError,
)
from server_jobs.launches.end_request import EndRequest
from server_jobs.launches.launch import SCHEMA_MISMATCH_STATUS
from server_jobs.launches.runner import Ending, Runner, RunnerConfig
from server_jobs.records.ids import new_worker_id
from server_jobs.records.rows import Claim

_log = logging.getLogger("server_jobs.runner")

_DESCRIPTION = """\
Execute one job that was claimed for this process, settle its record, and end.
A Kubernetes pod runs this. If another process has the job, nothing is done.

server-jobs run --app myapp.jobs:registry --job-id 0197a3c2-5b1e-7f04-8c11-2f6a7d5e9b10 --fence 1
"""
_EPILOG = """\
On SIGTERM, the handler is asked to stop, and the job is given back.

Exit status: 0 the record is settled, or there was nothing to do; 1 it couldn't
be settled; 2 used wrongly; 78 the tables are too new or too old for this release;
130 or 143 interrupted by Ctrl-C or SIGTERM before the handler began.
"""

SETTINGS = settings_of(
    RunnerConfig,
    "SERVER_JOBS_",
    job_id=Setting(
        help="The id of the record to execute.", unit="id", variable=NO_VARIABLE, required=True
    ),
    fence=Setting(
        help="The fence of its claim.",
        unit="number",
        variable=NO_VARIABLE,
        default=0,
        required=True,
    ),
    app=Setting(
        help="Where your jobs are, for instance myapp.jobs:registry.",
        unit="module:registry",
        required=True,
    ),
    worker_id=Setting(
        help="What the lease is held under. No other process may have the same.",
        unit="text",
        shown_default="made of host and process",
    ),
    lease=Setting(
        help="How long after this process's death its job is given to another one.",
        unit="seconds",
    ),
    grace=Setting(
        help="How long the handler has to finish once it is told to stop.", unit="seconds"
    ),
    max_launch_failures=Setting(
        help="How often the job may fail to begin before it fails. The operator sets it to the"
        " JobRunner's maxLaunchFailures.",
        unit="number",
    ),
    max_releases=Setting(
        help="How often in a row the job may be given back, because its process was told to end,"
        " before it fails. The operator sets it to the JobRunner's maxDisruptions.",
        unit="number",
    ),
    log_format=Setting(
        help="auto is console on a terminal and JSON lines elsewhere.",
        default="auto",
        choices=("auto", "console", "json"),
    ),
    log_level=Setting(
        help="The least important lines to write.",
        default="info",
        choices=("debug", "info", "warning", "error"),
    ),
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options, with their defaults from the environment."""
    parser = argparse.ArgumentParser(
        prog="server-jobs run",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    for setting in SETTINGS.values():
        # The app may be in the environment. If it isn't, load_registry says what to give.
        required = setting.required and not setting.has_variable
        parser.add_argument(
            setting.flag,
            required=required,
            type=_reader(setting),
            # This text is read like one that is typed. A variable that is empty counts as unset.
            default=None if required else os.environ.get(setting.variable) or setting.default_text,
            metavar=_metavar(setting),
            help=_help(setting),
        )
    return parser


def _reader(setting: Setting) -> Callable[[str], Any]:
    def choice(text: str) -> str:
        if text.lower() not in setting.choices:
            raise argparse.ArgumentTypeError(f"{text!r} isn't one of {', '.join(setting.choices)}")
        return text.lower()

    def number(text: str) -> Any:
        try:
            return type(setting.default)(text)
        except ValueError:
            if setting.unit == SECONDS:
                return _seconds(text, setting.flag)
            raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number") from None

    if setting.choices:
        return choice
    return str if setting.default is None else number


def _seconds(text: str, flag: str) -> float:
    # The operator gives numbers, which need none of these imports.
    from typer import BadParameter

    from server_jobs.cli.durations import seconds_of

    try:
        return seconds_of(text, flag)
    except BadParameter as error:
        raise argparse.ArgumentTypeError(error.message) from None


def _metavar(setting: Setting) -> str:
    return f"{{{','.join(setting.choices)}}}" if setting.choices else setting.unit.upper()


def _help(setting: Setting) -> str:
    notes = [setting.variable] if setting.has_variable else []
    if setting.default_text is not None and not setting.required:
        notes.append(f"default: {setting.default_text}")
    return setting.help + (f" [{', '.join(notes)}]" if notes else "")


def main(arguments: Sequence[str]) -> int:
    """Run the command with these arguments → its exit status."""
    with EndRequest() as end_request:
        return _run_until(end_request, arguments)


def _run_until(end_request: EndRequest, arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    _configure_logging(options.log_format, options.log_level)
    try:
        ending = run_to_its_end(_run(options, end_request))
    except ServerJobsError as error:
        fields = {"job_id": options.job_id, "fence": options.fence}
        _log.error("job %s: %s", options.job_id, error, extra=fields)
        if isinstance(error, SchemaError):
            return SCHEMA_MISMATCH_STATUS
        return 2 if isinstance(error, ConfigurationError) else 1
    return 1 if ending is Ending.LOST else 0


async def _run(options: argparse.Namespace, end_request: EndRequest) -> Ending:
    url = url_from_environment()
    if not url:
        raise DatabaseNotConfiguredError(
            f"{DATABASE_URL_VARIABLE} is not set: a pod gets it from a Secret. There is no option"
            " for it, because anyone who can list processes can read their options"
        )
    config = RunnerConfig(
        options.worker_id or new_worker_id("runner"),
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
            end_request=end_request,
        ).run()
    finally:
        await database.close()


class _Later(logging.Formatter):
    """Makes the formatter that the other commands use when the first line is logged."""

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
    handler = stderr_handler()
    handler.setFormatter(_Later(log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    keep_being_heard(handler)
