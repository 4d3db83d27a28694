"""From the schedules that an app declares to the table.

Each source touches its own rows alone, so that two apps, or two releases of one during a rolling
deployment, leave each other's schedules in peace.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from server_jobs.errors import InvalidScheduleError
from server_jobs.schedules.schedule import Schedule
from server_jobs.schedules.store import ScheduleStore

_log = logging.getLogger("server_jobs.scheduler")


async def synchronise(
    schedules: ScheduleStore, declared: Sequence[Schedule], *, source: str, prune: bool = False
) -> None:
    """Write declared schedules into the table; with ``prune``, disable the source's others.

    A schedule whose name another source has is left out, with an error in the log: the jobs of
    this worker mustn't wait for it. Raises DatabaseError.
    """
    for schedule in declared:
        try:
            record = await schedules.put(schedule)
        except InvalidScheduleError as error:
            _log.error("%s", error, extra={"schedule": schedule.name})
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
