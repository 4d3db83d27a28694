"""``schedule run-now``: makes a job of a schedule at once."""

from __future__ import annotations

import asyncio
import shlex

import typer

from server_jobs.cli.commands.schedule.lookup import NameArgument, opened_schedules, the_schedule
from server_jobs.cli.failures import unless_unanswered
from server_jobs.cli.options import DatabaseOption


def run_now(name: NameArgument, database: DatabaseOption = None) -> None:
    """Make a job of a schedule at once, and print its id.

    It works on schedules that are off, too. The schedule's fire times stay as
    they are, and its overlap doesn't apply.

    server-jobs schedule run-now nightly
    """

    async def run() -> str:
        async with opened_schedules(database) as schedules:
            schedule = await the_schedule(schedules, name)
            with unless_unanswered(
                "The job may have been made all the same. Before you ask for it again, look:"
                f" server-jobs list --name {shlex.quote(schedule.job_name)} --newer-than 5m"
            ):
                return await schedules.run_now(schedule.name)

    typer.echo(asyncio.run(run()))
