"""``schedule add``: adds a schedule, or replaces the schedule of that name."""

from __future__ import annotations

import asyncio
import shlex
from itertools import islice
from typing import Annotated

import typer

from server_jobs.cli import options
from server_jobs.cli.app_loader import load_registry
from server_jobs.cli.commands.schedule.lookup import NameArgument, opened_schedules
from server_jobs.cli.commands.schedule.managed import OURS
from server_jobs.cli.commands.schedule.shown import both_clocks
from server_jobs.cli.database import job_database
from server_jobs.cli.durations import seconds_of, seconds_or_forever
from server_jobs.cli.failures import unless_unanswered
from server_jobs.cli.moments import moment_of
from server_jobs.cli.output import plain, print_lines
from server_jobs.cli.params import build_params
from server_jobs.errors import InvalidScheduleError
from server_jobs.registry import new_schedule
from server_jobs.schedules.cron import time_zone as zone_of
from server_jobs.schedules.schedule import Catchup, Overlap, ScheduleRecord

_SHOWN = 3


def add(
    name: NameArgument,
    expression: Annotated[
        str,
        typer.Argument(
            metavar="EXPRESSION", help="A cron expression of five fields, or a name such as @daily."
        ),
    ],
    job_name: Annotated[str, typer.Argument(metavar="JOB", help="The job's name.")],
    app: options.AppOption = None,
    database: options.AppsDatabaseOption = None,
    *,
    param: options.ParamOption = None,
    params_json: options.ParamsJsonOption = "{}",
    time_zone: Annotated[
        str,
        typer.Option(
            "--time-zone", metavar="ZONE", help="The time zone whose clock the expression follows."
        ),
    ] = "UTC",
    overlap: Annotated[
        Overlap,
        typer.Option(
            "--overlap",
            help="What a fire time does while an earlier job of the schedule hasn't ended.",
        ),
    ] = Overlap.ALLOW,
    catchup: Annotated[
        Catchup, typer.Option("--catchup", help="Which missed fire times get a job after downtime.")
    ] = Catchup.LATEST,
    catchup_window: Annotated[
        str,
        typer.Option(
            "--catchup-window",
            metavar="DURATION",
            help="How far back missed fire times get a job: 12h, 7d, forever.",
        ),
    ] = "1d",
    catchup_limit: Annotated[
        int, typer.Option("--catchup-limit", help="How many missed fire times get a job, at most.")
    ] = 100,
    jitter: Annotated[
        str,
        typer.Option(
            "--jitter", metavar="DURATION", help="Delay each job by a random time of up to this."
        ),
    ] = "0",
    starts_at: Annotated[
        str | None,
        typer.Option(
            "--starts-at",
            metavar="MOMENT",
            help="Never fire before this moment: 2026-03-29T02:30, by the schedule's time zone.",
        ),
    ] = None,
    ends_at: Annotated[
        str | None,
        typer.Option("--ends-at", metavar="MOMENT", help="Never fire at or after this moment."),
    ] = None,
    queue: options.OwnQueueOption = None,
    priority: options.PriorityOption = None,
    max_attempts: options.MaxAttemptsOption = None,
    disabled: Annotated[
        bool, typer.Option("--disabled", help="Add the schedule turned off.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Change the schedule of that name. It stays on or off as it is."
        ),
    ] = False,
) -> None:
    """Add a schedule of a job, after checking the job's params.

    server-jobs schedule add nightly "30 2 * * *" Report --time-zone Europe/Zurich
    server-jobs schedule add sync "*/5 * * * *" Sync --overlap skip --param shop=7
    server-jobs schedule add nightly "0 4 * * *" Report --replace

    It never fires for the past. The command prints when it fires next.
    """
    registry = load_registry(app)
    job = registry.get(job_name)
    zone = zone_of(time_zone)
    schedule = new_schedule(
        job,
        expression,
        name=name,
        managed_by=OURS,
        params=build_params(job, params_json, param or ()),
        time_zone=time_zone,
        overlap=overlap.value,
        catchup=catchup.value,
        catchup_window=seconds_or_forever(catchup_window, "--catchup-window"),
        catchup_limit=catchup_limit,
        jitter=seconds_of(jitter, "--jitter"),
        starts_at=None if starts_at is None else moment_of(starts_at, "--starts-at", zone),
        ends_at=None if ends_at is None else moment_of(ends_at, "--ends-at", zone),
        queue=queue,
        priority=priority,
        max_attempts=max_attempts,
        enabled=not disabled,
    )

    async def run() -> tuple[ScheduleRecord, list[str]]:
        async with opened_schedules(job_database(database, job)) as schedules:
            existing = await schedules.find(name)
            if existing is not None and existing.managed_by == OURS and not replace:
                raise InvalidScheduleError(
                    f"there is a schedule {name!r} already: --replace changes it"
                )
            with unless_unanswered(
                "The schedule may have been written all the same, look:"
                f" server-jobs schedule show {shlex.quote(name)}"
            ):
                record = await schedules.put(schedule)
            times = islice(record.fire_times(await schedules.clock()), _SHOWN)
            return record, [both_clocks(fire_time, zone) for fire_time in times]

    record, times = asyncio.run(run())
    lines = [f"{record.name}: {record.job_name} at {record.cron_expression} {record.time_zone}"]
    if not record.enabled:
        lines.append(f"It is off: server-jobs schedule enable {record.name}")
    lines += [f"  {line}" for line in times] or ["  it never fires again"]
    print_lines(map(plain, lines))
