"""``schedule remove``: deletes a schedule."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from server_jobs.cli.commands.schedule.lookup import NameArgument, opened_schedules, the_schedule
from server_jobs.cli.commands.schedule.managed import refuse_managed_elsewhere
from server_jobs.cli.confirmation import ask
from server_jobs.cli.failures import unless_unanswered
from server_jobs.cli.options import DatabaseOption
from server_jobs.cli.output import on_one_line, plain, print_lines
from server_jobs.errors import ScheduleManagedElsewhereError


def remove(
    name: NameArgument,
    database: DatabaseOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Delete a schedule. Its jobs stay.

    A schedule that code declares must be turned off first. A worker that still
    declares it would write it again when it starts.

    server-jobs schedule remove nightly --yes
    """

    async def run() -> None:
        async with opened_schedules(database) as schedules:
            schedule = await the_schedule(schedules, name)
            refuse_managed_elsewhere(schedule)
            if schedule.managed_by.startswith("code:") and schedule.enabled:
                raise ScheduleManagedElsewhereError(
                    f"schedule {name!r} is declared by {schedule.managed_by}: remove it from the"
                    " code and start a worker with --prune-schedules, which turns it off; then it"
                    " can be removed here"
                )
            if not yes:
                ask(f"Delete the schedule {name!r} of {schedule.job_name}, for good?")
            with unless_unanswered(
                "It may have been removed all the same: `server-jobs schedule list` tells."
            ):
                await schedules.remove(schedule.name)

    asyncio.run(run())
    print_lines([plain(f"{on_one_line(name)} is removed")])
