"""``schedule backfill``: makes jobs for fire times that have passed."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Annotated

import typer

from server_jobs.cli.commands.schedule.lookup import NameArgument, opened_schedules, the_schedule
from server_jobs.cli.commands.schedule.shown import both_clocks
from server_jobs.cli.confirmation import ask, progress_bar
from server_jobs.cli.documents import json_value
from server_jobs.cli.failures import unless_unanswered
from server_jobs.cli.moments import moment_of
from server_jobs.cli.options import DatabaseOption, JsonOption
from server_jobs.cli.output import plain, print_json, print_lines, remark
from server_jobs.schedules.cron import time_zone
from server_jobs.schedules.schedule import ScheduleRecord
from server_jobs.schedules.store import ScheduleStore

_MOST = 10_000
_AT_ONCE = 500
_INSTANT = timedelta(microseconds=1)


def backfill(
    name: NameArgument,
    database: DatabaseOption = None,
    *,
    since: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="MOMENT",
            show_default=False,
            help="Fire times from this moment on: 2026-03-01, 2026-03-01T08:00, by the"
            " schedule's time zone. Required.",
        ),
    ],
    until: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="MOMENT",
            show_default=False,
            help="Fire times before this moment. Required.",
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the fire times, and make no job.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make jobs for past fire times of a schedule that have no job yet.

    All of them are due now. Overlap, catch-up and jitter don't apply. A fire
    time that has a job gets no other, so the command can be given again.

    server-jobs schedule backfill nightly --from 2026-03-01 --to 2026-03-08 --dry-run
    server-jobs schedule backfill nightly --from 2026-03-01 --to 2026-03-08
    """

    async def run() -> tuple[ScheduleRecord, list[datetime], dict[datetime, str]]:
        async with opened_schedules(database) as schedules:
            schedule = await the_schedule(schedules, name)
            times = _times(schedule, since, until, await schedules.clock())
            if dry_run or not times:
                return schedule, times, {}
            if not yes:
                ask(
                    f"Make jobs of {schedule.job_name}, due now, for those of"
                    f" {_count(len(times))} that have none?"
                )
            return schedule, times, await _make(schedules, schedule, times)

    schedule, times, made = asyncio.run(run())
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "fire_times": [json_value(fire_time) for fire_time in times],
                "job_ids": list(made.values()),
            }
        )
    elif dry_run:
        zone = time_zone(schedule.time_zone)
        print_lines(plain(both_clocks(fire_time, zone)) for fire_time in times)
        remark(f"nothing was done: {_count(len(times))}; those that have a job get no other")
    else:
        had = len(times) - len(made)
        tail = f"; {had:,} had one already" if had else ""
        jobs = f"{len(made):,} job{'' if len(made) == 1 else 's'}"
        print_lines([plain(f"{jobs} made for {_count(len(times))}{tail}")])


def _times(schedule: ScheduleRecord, since: str, until: str, now: datetime) -> list[datetime]:
    zone = time_zone(schedule.time_zone)
    start, end = moment_of(since, "--from", zone), moment_of(until, "--to", zone)
    if start >= end:
        raise typer.BadParameter("isn't later than --from.", param_hint="'--to'")
    if end > now:
        raise typer.BadParameter(
            f"lies ahead: what comes fires by itself. Say at most {now:%Y-%m-%dT%H:%M:%SZ}.",
            param_hint="'--to'",
        )
    between = takewhile(lambda fire_time: fire_time < end, schedule.fire_times(start - _INSTANT))
    times = list(islice(between, _MOST + 1))
    if len(times) > _MOST:
        raise typer.BadParameter(
            f"more than {_MOST:,} fire times lie between: go in steps, the first one with --to"
            f" {times[_MOST]:%Y-%m-%dT%H:%M:%SZ}.",
            param_hint="'--to'",
        )
    return times


async def _make(
    schedules: ScheduleStore, schedule: ScheduleRecord, times: list[datetime]
) -> dict[datetime, str]:
    made: dict[datetime, str] = {}
    try:
        with progress_bar() as progress:
            bar = progress.add_task("backfill", total=len(times))
            for start in range(0, len(times), _AT_ONCE):
                chunk = times[start : start + _AT_ONCE]
                with unless_unanswered("Some more may have been made; they won't be made twice."):
                    made |= await schedules.backfill(schedule, chunk)
                progress.advance(bar, len(chunk))
    except BaseException:
        remark(f"stopped half-way, {len(made):,} jobs made: give the command again to go on")
        raise
    return made


def _count(many: int) -> str:
    return f"{many:,} fire time{'' if many == 1 else 's'}"
