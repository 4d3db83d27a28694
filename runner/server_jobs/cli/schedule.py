"""``schedule``: the commands about schedules, put together."""

from __future__ import annotations

import typer

from server_jobs.cli import backfilling, explaining, schedule_changes, schedules
from server_jobs.cli.failures import PlainGroup

group = typer.Typer(cls=PlainGroup, no_args_is_help=True, rich_markup_mode="rich")


@group.callback()
def schedule() -> None:
    """Jobs that run again and again, at the times of a cron expression.

    server-jobs schedule list
    server-jobs schedule add nightly "30 2 * * *" Report --time-zone Europe/Zurich
    server-jobs schedule explain "30 2 * * *" --time-zone Europe/Zurich

    Any worker fires the schedules of its database, unless it was started with
    --no-schedules.
    """


group.command("list")(schedules.list_schedules)
group.command("show")(schedules.show)
group.command("explain")(explaining.explain)
group.command("add")(schedule_changes.add)
group.command("enable")(schedule_changes.enable)
group.command("disable")(schedule_changes.disable)
group.command("remove")(schedule_changes.remove)
group.command("run-now")(schedule_changes.run_now)
group.command("backfill")(backfilling.backfill)
