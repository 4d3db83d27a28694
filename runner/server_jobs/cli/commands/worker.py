"""``worker``: executes jobs until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from server_jobs.cli.app_loader import load_registry
from server_jobs.cli.database import workers_database
from server_jobs.cli.durations import seconds_or_forever
from server_jobs.cli.failures import FAILED
from server_jobs.cli.logs import LogFormat, LogLevel, configure_logging
from server_jobs.cli.options import AppOption, DatabaseOption, LogFormatOption, LogLevelOption
from server_jobs.cli.process_end import SPARE_SECONDS, StopOnSignals, leave_after, leave_now
from server_jobs.database import Database
from server_jobs.definition.logs import get_logger
from server_jobs.registry import JobRegistry
from server_jobs.worker import LocalWorker, WorkerConfig


def worker(
    app: AppOption = None,
    database: DatabaseOption = None,
    *,
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency", envvar="SERVER_JOBS_CONCURRENCY", help="How many jobs at once."
        ),
    ] = 50,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            envvar="SERVER_JOBS_QUEUE",
            metavar="NAME[,NAME]",
            show_default="default",
            help="Which queues to serve, in turn. May be repeated.",
        ),
    ] = None,
    lease: Annotated[
        float,
        typer.Option(
            "--lease",
            envvar="SERVER_JOBS_LEASE",
            metavar="SECONDS",
            help="How long after this worker's death its jobs go to another one.",
        ),
    ] = 300.0,
    poll_interval: Annotated[
        float,
        typer.Option(
            "--poll-interval",
            envvar="SERVER_JOBS_POLL_INTERVAL",
            metavar="SECONDS",
            help="How often to look for jobs where the database doesn't tell of them.",
        ),
    ] = 1.0,
    grace: Annotated[
        float,
        typer.Option(
            "--grace",
            envvar="SERVER_JOBS_GRACE",
            metavar="SECONDS",
            help="What running handlers get to end in when the worker is stopped.",
        ),
    ] = 30.0,
    drain: Annotated[
        bool,
        typer.Option(
            "--drain",
            envvar="SERVER_JOBS_DRAIN",
            help="End when the queues have nothing that is due within a minute.",
        ),
    ] = False,
    schedules: Annotated[
        bool,
        typer.Option(
            "--schedules/--no-schedules",
            envvar="SERVER_JOBS_SCHEDULES",
            help="Write the app's schedules into the database and fire all that are due.",
        ),
    ] = True,
    prune_schedules: Annotated[
        bool,
        typer.Option(
            "--prune-schedules",
            envvar="SERVER_JOBS_PRUNE_SCHEDULES",
            help="At the start, disable schedules that this app no longer declares.",
        ),
    ] = False,
    keep_completed: Annotated[
        str,
        typer.Option(
            "--keep-completed",
            envvar="SERVER_JOBS_KEEP_COMPLETED",
            metavar="DURATION",
            help="How long completed jobs are kept after their end: 12h, 7d, forever.",
        ),
    ] = "7d",
    keep_failed: Annotated[
        str,
        typer.Option(
            "--keep-failed",
            envvar="SERVER_JOBS_KEEP_FAILED",
            metavar="DURATION",
            help="The same for failed ones.",
        ),
    ] = "30d",
    keep_cancelled: Annotated[
        str,
        typer.Option(
            "--keep-cancelled",
            envvar="SERVER_JOBS_KEEP_CANCELLED",
            metavar="DURATION",
            help="The same for cancelled ones.",
        ),
    ] = "30d",
    log_format: LogFormatOption = LogFormat.AUTO,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Execute jobs until stopped. Run as many as you like, on as many machines.

    server-jobs worker --app myapp.jobs:registry
    server-jobs worker --app myapp.jobs:registry --queue default,mail --concurrency 50
    server-jobs worker --app myapp.jobs:registry --drain

    SIGTERM or Ctrl-C stops it: nothing more is claimed, running handlers get
    the grace period, then they are interrupted and their jobs given back. A
    second signal skips the grace period. What doesn't end even then is left
    behind, and its job goes to another worker once its lease has expired.
    """
    configure_logging(log_format, log_level)
    config = WorkerConfig(
        concurrency=concurrency,
        queues=queue_names(queue or ["default"]),
        lease=lease,
        poll_interval=poll_interval,
        grace=grace,
        drain=drain,
        schedules=schedules,
        prune_schedules=prune_schedules,
        keep_completed=seconds_or_forever(keep_completed, "--keep-completed"),
        keep_failed=seconds_or_forever(keep_failed, "--keep-failed"),
        keep_cancelled=seconds_or_forever(keep_cancelled, "--keep-cancelled"),
    )
    registry = load_registry(app)
    asyncio.run(_work(registry, workers_database(database, registry), config))


def queue_names(values: Sequence[str]) -> list[str]:
    """The names in ``a,b`` and ``c``, each once, in order."""
    names = [name.strip() for value in values for name in value.split(",")]
    if not all(names):
        raise typer.BadParameter("a queue's name is empty.", param_hint="--queue")
    return list(dict.fromkeys(names))


async def _work(registry: JobRegistry, database: Database, config: WorkerConfig) -> None:
    local = LocalWorker(database=database, job_registry=registry, config=config)
    log = get_logger("server_jobs.worker")
    signals = StopOnSignals(local)
    try:
        with signals:
            totals = await local.run_until_stopped()
    finally:
        if not signals.asked:
            # Threads that handlers have left behind mustn't keep the process for ever.
            leave_after(max(config.grace, SPARE_SECONDS))
        await database.close()
    log.info(
        "worker stopped",
        completed=totals.completed,
        failed_attempts=totals.failed,
        given_back_or_cancelled=totals.other,
        lost=totals.lost,
        rescued=totals.rescued,
    )
    if local.running:
        log.warning(
            "leaving without handlers that don't end",
            jobs=[f"{job.job_name} {job.id}" for job in local.running],
        )
        leave_now(FAILED)
