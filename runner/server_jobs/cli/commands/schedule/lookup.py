"""Finds the schedule whose name a person typed."""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, TypeAlias

import typer

from server_jobs.cli.database import existing_database, opened_store
from server_jobs.cli.output import on_one_line
from server_jobs.database import Database
from server_jobs.errors import ScheduleNotFoundError
from server_jobs.records.text import unescaped
from server_jobs.schedules.schedule import ScheduleRecord
from server_jobs.schedules.store import ScheduleStore

NameArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="The schedule's name.")
]
NamesArgument: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="NAME", help="The schedules' names.")
]


@asynccontextmanager
async def opened_schedules(where: Database | str | None) -> AsyncIterator[ScheduleStore]:
    """Open the schedules of a database, or of the database at a URL, and close it at the end."""
    database = existing_database(where) if where is None or isinstance(where, str) else where
    async with opened_store(database):
        yield ScheduleStore(database)


async def the_schedule(schedules: ScheduleStore, name: str) -> ScheduleRecord:
    """Return the schedule of that name. Raises ScheduleNotFoundError with a suggestion."""
    # What a terminal can't show of a name that another program wrote is typed as it is shown.
    for meant in dict.fromkeys((name, *unescaped(name))):
        with suppress(UnicodeEncodeError):  # where all text is UTF-8, no name is other text
            if (found := await schedules.find(meant)) is not None:
                return found
    names = [on_one_line(schedule.name) for schedule in await schedules.list_all()]
    close = difflib.get_close_matches(name, names, n=3)
    hint = (
        f"did you mean {' or '.join(map(repr, close))}?"
        if close
        else "`server-jobs schedule list` shows those there are"
    )
    raise ScheduleNotFoundError(f"there is no schedule {name!r}: {hint}")
