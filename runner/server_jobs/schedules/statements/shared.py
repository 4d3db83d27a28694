"""What the statements on schedules share: columns, parameters and conditions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Integer, Text, bindparam, literal_column, null, select
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.records.status import LIVE
from server_jobs.schedules.schedule import Decision, Overlap, Schedule, ScheduleRecord
from server_jobs.sql.column_types import UtcDateTime
from server_jobs.sql.statement_set import StatementSet
from server_jobs.sql.tables import status_is

RECORD_COLUMNS = tuple(name for name in ScheduleRecord.__dataclass_fields__ if name != "misfits")
DEFINITION_COLUMNS = tuple(Schedule.__dataclass_fields__)
EDITED_COLUMNS = tuple(
    name for name in DEFINITION_COLUMNS if name not in {"name", "managed_by", "enabled"}
)

ID = bindparam("id", type_=Text())
NAME = bindparam("name", type_=Text())
MANAGED_BY = bindparam("managed_by", type_=Text())
LIMIT = bindparam("limit", type_=Integer())
NOW = bindparam("now", type_=UtcDateTime())
NEXT = bindparam("next_run_at", type_=UtcDateTime())
# The decision about an earlier fire time (waiting, broken) doesn't hold for a new one.
ANEW = {"next_run_at": NEXT, "last_decision": null(), "last_note": null()}


class ScheduleStatements(StatementSet):
    """What the statements on schedules share."""

    def _waits_for_others(self, schedule: Any) -> ColumnElement[bool]:
        words = [literal_word(word) for word in (Overlap.QUEUE, Overlap.REPLACE)]
        condition: ColumnElement[bool] = schedule.overlap.in_(words)
        return condition

    def _has_live_job(self, schedule_id: ColumnElement[str]) -> ColumnElement[bool]:
        earlier = self._jobs.alias("earlier")
        # Not EXISTS: for many schedules PostgreSQL would hash it, and read all jobs of the table.
        found = (
            select(earlier.c.id)
            .where(earlier.c.cron_job_id == schedule_id, self._is_live(earlier.c))
            .limit(literal_column("1"))
            .correlate_except(earlier)
            .scalar_subquery()
        )
        return found.is_not(None)

    def _is_live(self, job: Any) -> ColumnElement[bool]:
        return status_is(job.status, *sorted(LIVE))


def literal_word(word: Decision | Overlap) -> ColumnElement[str]:
    """Put the word into the statement's text, as a literal: it never changes between runs."""
    return literal_column(f"'{word}'", type_=Text())
