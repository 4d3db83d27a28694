"""Writes the schedules that an app declares in code into the table.

An app changes only the rows that it manages, so that two apps never change each other's schedules.
A schedule that is no longer declared stays unless ``prune`` is set: during a rolling deployment the
older release may still declare it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from server_jobs.errors import DataRefusedError, InvalidScheduleError
from server_jobs.schedules.schedule import Schedule
from server_jobs.schedules.store import ScheduleStore

_log = logging.getLogger("server_jobs.scheduler")


async def synchronise(
    schedules: ScheduleStore, declared: Sequence[Schedule], *, source: str, prune: bool = False
) -> None:
    """Write declared schedules into the table.

    ``source`` is what manages them (``code:<app>``). With ``prune``, its other schedules are
    disabled. A schedule whose name belongs to another source is logged as an error and left out, so
    that the worker can go on. Raises DatabaseError, but DataRefusedError only after all others.
    """
    refused: DataRefusedError | None = None
    for schedule in declared:
        try:
            record = await schedules.put(schedule)
        except InvalidScheduleError as error:
            _log.error("%s", error, extra={"schedule": schedule.name})
        except DataRefusedError as error:
            _log.error("schedule %s: %s", schedule.name, error, extra={"schedule": schedule.name})
            refused = error
        else:
            if not record.enabled:
                _log.info("schedule %s is disabled", record.name, extra={"schedule": record.name})
    if prune:
        for name in await schedules.prune(source, [schedule.name for schedule in declared]):
            _log.warning(
                "schedule %s is no longer declared by %s: disabled",
                name,
                source,
                extra={"schedule": name},
            )
    if refused is not None:
        raise refused
