"""``schedule enable``: turns schedules on."""

from __future__ import annotations

from server_jobs.cli.commands.schedule.lookup import NamesArgument
from server_jobs.cli.commands.schedule.managed import switch
from server_jobs.cli.options import DatabaseOption


def enable(names: NamesArgument, database: DatabaseOption = None) -> None:
    """Turn schedules on. Fire times that they missed get no jobs.

    server-jobs schedule enable nightly sync
    """
    switch(names, database, on=True)
