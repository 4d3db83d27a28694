"""This folder holds schedules: recurring definitions, their fire times and the jobs made for them.

``cron`` reads expressions, and ``schedule`` describes one definition. ``plan`` decides which fire
times get a job. ``scheduler`` makes those jobs, by ``store`` and its ``statements``. ``declare``
writes the schedules that an app declares into the table. A job made here is a record like any
other; claiming and executing it belong elsewhere.
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
