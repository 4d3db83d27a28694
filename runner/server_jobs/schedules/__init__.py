"""Schedules: recurring definitions, their fire times, and the jobs that come of them.

``cron`` reads expressions, ``schedule`` is one definition, ``plan`` decides what becomes of fire
times, ``scheduler`` fires them through ``store`` and its ``statements``, and ``declare`` writes
what an app declares. A fired job is a row like any other; what happens to it next is not told here.
"""

from server_jobs.schedules.schedule import Catchup, Decision, Overlap, Schedule, ScheduleRecord
from server_jobs.schedules.store import ScheduleStore

__all__ = [
    "Catchup",
    "Decision",
    "Overlap",
    "Schedule",
    "ScheduleRecord",
    "ScheduleStore",
]
