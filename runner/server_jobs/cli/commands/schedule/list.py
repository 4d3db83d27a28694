"""``schedule list``: lists schedules, one line each."""

from __future__ import annotations

import asyncio

from server_jobs.cli.commands.schedule.lookup import opened_schedules
from server_jobs.cli.commands.schedule.shown import listed, schedule_document
from server_jobs.cli.options import DatabaseOption, JsonOption
from server_jobs.cli.output import print_json, print_lines, remark, terminal_width
from server_jobs.schedules.schedule import ScheduleRecord


def list_schedules(database: DatabaseOption = None, *, as_json: JsonOption = False) -> None:
    """List schedules by name, with times in UTC.

    server-jobs schedule list
    server-jobs schedule list --json | jq '.[] | select(.last_decision == "broken")'

    STATE is on, off or broken. A broken schedule doesn't fire, and the line
    below it says why. SOURCE says who manages it: cli, code:APP, or another.
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
