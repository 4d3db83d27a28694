"""``worker``: executes jobs until it is stopped."""

from __future__ import annotations

from typing import Any

from server_jobs.cli.app_loader import load_registry
from server_jobs.cli.database import worker_database
from server_jobs.cli.failures import FAILED
from server_jobs.cli.flags import takes_settings
from server_jobs.cli.logs import LogFormat, LogLevel, configure_logging
from server_jobs.cli.options import AppOption, AppsDatabaseOption, LogFormatOption, LogLevelOption
from server_jobs.cli.own_loop import run_to_its_end
from server_jobs.cli.process_end import SPARE_SECONDS, StopOnSignals
from server_jobs.cli.settings import Setting, settings_of
from server_jobs.database import Database
from server_jobs.deadline import leave_after, leave_now
from server_jobs.definition.logs import get_logger
from server_jobs.records.names import QUEUE
from server_jobs.registry import JobRegistry
from server_jobs.worker import LocalWorker, WorkerConfig

SETTINGS = settings_of(
    WorkerConfig,
    "SERVER_JOBS_",
    concurrency=Setting(help="How many jobs run at once, 1 to 10,000.", unit="jobs"),
    queues=Setting(
        help="Which queues to serve, in turn. May be repeated.",
        flag="--queue",
        variable="SERVER_JOBS_QUEUE",
        unit="name[,name]",
        list_of=QUEUE,
    ),
    lease=Setting(
        help="How long after this worker's death its jobs are given to another worker, 1 second to"
        " 7 days.",
        unit="seconds",
    ),
    poll_interval=Setting(
        help="How often to look for jobs where the database doesn't announce them, 0.01 to 3,600.",
        unit="seconds",
    ),
    grace=Setting(
        help="How long running handlers have to finish when the worker is stopped, up to a day.",
        unit="seconds",
    ),
    drain=Setting(help="End when the queues have no job that is due within a minute."),
    schedules=Setting(
        help="Write the app's schedules into the database, and fire all schedules that are due."
    ),
    prune_schedules=Setting(
        help="At the start, turn off the schedules that this app no longer declares."
    ),
    keep_completed=Setting(
        help="How long completed jobs are kept after their end: 12h, 7d, forever. 0 deletes them"
        " within minutes.",
        unit="duration",
        is_duration=True,
    ),
    keep_failed=Setting(
        help="How long failed jobs are kept after their end.", unit="duration", is_duration=True
    ),
    keep_cancelled=Setting(
        help="How long cancelled jobs are kept after their end.", unit="duration", is_duration=True
    ),
)


@takes_settings(SETTINGS)
def worker(
    app: AppOption = None,
    database: AppsDatabaseOption = None,
    *,
    settings: dict[str, Any],
    log_format: LogFormatOption = LogFormat.AUTO,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Execute jobs until stopped. Run as many workers as you like.

    server-jobs worker --app myapp.jobs:registry
    server-jobs worker --app myapp.jobs:registry --queue default,mail --concurrency 50
    server-jobs worker --app myapp.jobs:registry --drain

    SIGTERM or Ctrl-C stops it. It claims no more jobs, and running handlers have
    the grace period to finish. Then they are interrupted, and their jobs are
    given back. A second signal skips the grace period. A handler that doesn't
    end even then is left behind, and its job is given to another worker once
    its lease has expired.
    """
    configure_logging(log_format, log_level)
    config = WorkerConfig(**settings)
    registry = load_registry(app)
    run_to_its_end(_work(registry, worker_database(database, registry), config))


async def _work(registry: JobRegistry, database: Database, config: WorkerConfig) -> None:
    local = LocalWorker(database=database, job_registry=registry, config=config)
    log = get_logger("server_jobs.worker")
    signals = StopOnSignals(local)
    try:
        with signals:
            totals = await local.run_until_stopped()
    finally:
        if not signals.asked:
            # Handlers may have left threads behind. They mustn't keep the process alive for ever.
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
