"""``schedule``: the group of the commands about schedules."""

from __future__ import annotations

from typing import ClassVar

import typer

from server_jobs.cli.groups import LazyGroup, Listed


class ScheduleCommands(LazyGroup):
    """The commands about schedules. A test compares this table with the help of each command."""

    package = "server_jobs.cli.commands.schedule"
    listed: ClassVar = {
        "list": Listed("list:list_schedules", "List schedules by name, with times in UTC."),
        "show": Listed(
            "show:show", "Show one schedule: its definition, params, last decision and live jobs."
        ),
        "explain": Listed(
            "explain:explain", "Say when a schedule or an expression fires, in its zone and in UTC."
        ),
        "add": Listed("add:add", "Add a schedule of a job, after checking the job's params."),
        "enable": Listed(
            "enable:enable", "Turn schedules on. Fire times that they missed get no jobs."
        ),
        "disable": Listed(
            "disable:disable",
            "Turn schedules off. Their jobs stay, and workers don't turn them on again.",
        ),
        "remove": Listed("remove:remove", "Delete a schedule. Its jobs stay."),
        "run-now": Listed("run_now:run_now", "Make a job of a schedule at once, and print its id."),
        "backfill": Listed(
            "backfill:backfill", "Make jobs for past fire times of a schedule that have no job yet."
        ),
    }


group = typer.Typer(
    cls=ScheduleCommands, add_completion=False, no_args_is_help=True, rich_markup_mode="rich"
)


@group.callback()
def schedule() -> None:
    """Jobs that run again and again, at the times of a cron expression.

    server-jobs schedule list
    server-jobs schedule add nightly "30 2 * * *" Report --time-zone Europe/Zurich
    server-jobs schedule explain "30 2 * * *" --time-zone Europe/Zurich

    Any worker fires the schedules of its database, unless it was started with
    --no-schedules.
    """
