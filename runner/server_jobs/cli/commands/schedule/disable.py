"""``schedule disable``: turns schedules off."""

from __future__ import annotations

from server_jobs.cli.commands.schedule.lookup import NamesArgument
from server_jobs.cli.commands.schedule.managed import switch
from server_jobs.cli.options import DatabaseOption


def disable(names: NamesArgument, database: DatabaseOption = None) -> None:
    """Turn schedules off. Their jobs stay, and workers don't turn them on again.

    server-jobs schedule disable nightly sync
    """
    switch(names, database, on=False)
