"""Who manages a schedule, which decides whether the command line may change it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from server_jobs.cli.commands.schedule.lookup import opened_schedules, the_schedule
from server_jobs.cli.failures import unless_unanswered
from server_jobs.cli.output import plain, print_lines
from server_jobs.errors import ScheduleManagedElsewhereError
from server_jobs.schedules.schedule import ScheduleRecord

OURS = "cli"


def refuse_managed_elsewhere(schedule: ScheduleRecord) -> None:
    """Raise ScheduleManagedElsewhereError if a JobSchedule of a cluster would undo a change.

    What no part of ours manages, a person may change: nobody else may be there to do it.
    """
    kind, _, which = schedule.managed_by.partition(":")
    if kind != "crd":
        return
    raise ScheduleManagedElsewhereError(
        f"schedule {schedule.name!r} is managed by {schedule.managed_by}, which would undo it:"
        f" change spec.suspend of the JobSchedule {which}, or delete it there"
    )


def switch(names: Sequence[str], url: str | None, *, on: bool) -> None:
    """Turn schedules on or off, all of them or none, and say so."""

    async def run() -> list[ScheduleRecord]:
        async with opened_schedules(url) as schedules:
            found = [await the_schedule(schedules, name) for name in dict.fromkeys(names)]
            for schedule in found:
                refuse_managed_elsewhere(schedule)
            with unless_unanswered(
                f"It may have been turned {'on' if on else 'off'} all the same: `server-jobs"
                " schedule list` tells. The command can be given again."
            ):
                return [await schedules.set_enabled(schedule.name, on) for schedule in found]

    for schedule in asyncio.run(run()):
        print_lines([plain(f"{schedule.name} is {'on' if schedule.enabled else 'off'}")])
