"""``schedule show``: shows all that is known about one schedule."""

from __future__ import annotations

import asyncio

from server_jobs.cli.commands.schedule.lookup import NameArgument, opened_schedules, the_schedule
from server_jobs.cli.commands.schedule.shown import schedule_document, schedule_lines
from server_jobs.cli.options import DatabaseOption, JsonOption
from server_jobs.cli.output import print_json, print_lines, terminal_width
from server_jobs.records.status import JobStatus
from server_jobs.schedules.schedule import ScheduleRecord


def show(
    name: NameArgument, database: DatabaseOption = None, *, as_json: JsonOption = False
) -> None:
    """Show one schedule: its definition, params, last decision and live jobs.

    Secrets among its params are shown as asterisks. Times are UTC.

    server-jobs schedule show nightly
    server-jobs schedule show nightly --json | jq .next_run_at
    """

    async def run() -> tuple[ScheduleRecord, dict[str, JobStatus]]:
        async with opened_schedules(database) as schedules:
            schedule = await the_schedule(schedules, name)
            return schedule, await schedules.live_jobs(schedule)

    schedule, live = asyncio.run(run())
    if as_json:
        print_json(schedule_document(schedule, live))
    else:
        print_lines(schedule_lines(schedule, live, terminal_width()))
