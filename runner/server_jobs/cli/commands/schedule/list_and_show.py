"""``schedule list`` and ``schedule show``: what the table says."""

from __future__ import annotations

import asyncio

from server_jobs.cli.commands.schedule.lookup import (
    ScheduleArgument,
    opened_schedules,
    the_schedule,
)
from server_jobs.cli.commands.schedule.shown import listed, schedule_document, schedule_lines
from server_jobs.cli.options import DatabaseOption, JsonOption
from server_jobs.cli.output import print_json, print_lines, remark, terminal_width
from server_jobs.records.status import JobStatus
from server_jobs.schedules.schedule import ScheduleRecord


def list_schedules(database: DatabaseOption = None, *, as_json: JsonOption = False) -> None:
    """List schedules by name, times in UTC.

    server-jobs schedule list
    server-jobs schedule list --json | jq '.[] | select(.last_decision == "broken")'

    STATE is on, off, or broken: such a one doesn't fire, and the line below it
    says why. SOURCE is what manages it: cli, code:APP, or another one.
    """

    async def run() -> list[ScheduleRecord]:
        async with opened_schedules(database) as schedules:
            return await schedules.list_all()

    found = asyncio.run(run())
    if as_json:
        print_json([schedule_document(schedule) for schedule in found])
    elif found:
        print_lines(listed(found, terminal_width()))
    else:
        remark("no schedules")


def show(
    name: ScheduleArgument, database: DatabaseOption = None, *, as_json: JsonOption = False
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
        print_lines(schedule_lines(schedule, live))
