"""``schedule``: the commands about schedules, put together."""

from __future__ import annotations

import typer

from server_jobs.cli.commands.schedule import backfill, change, explain, list_and_show
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


group.command("list")(list_and_show.list_schedules)
group.command("show")(list_and_show.show)
group.command("explain")(explain.explain)
group.command("add")(change.add)
group.command("enable")(change.enable)
group.command("disable")(change.disable)
group.command("remove")(change.remove)
group.command("run-now")(change.run_now)
group.command("backfill")(backfill.backfill)
