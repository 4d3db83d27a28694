"""Holds the SQL statements of monitoring, as SQLAlchemy Core.

Live jobs are read off partial indexes that hold only live jobs, however many have ended. Ended
jobs are found by the primary key, since ids begin with the moment at which they were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import (
    CompoundSelect,
    Float,
    Integer,
    Select,
    Subquery,
    Text,
    and_,
    bindparam,
    case,
    false,
    func,
    literal_column,
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import FromClause

from server_jobs.records.status import FINISHED, JobStatus
from server_jobs.sql.constructs import add_seconds, seconds_between
from server_jobs.sql.rowset import one_of
from server_jobs.sql.statement import Statement
from server_jobs.sql.statement_set import StatementSet
from server_jobs.sql.tables import status_is

_FLOOR = bindparam("floor", type_=Text())


class MonitoringStatements(StatementSet):
    """Makes the statements that count and summarise jobs."""

    def live(self) -> Statement:
        """Count pending and running jobs → queue, job_name, kind, count, seconds.

        ``kind`` is due, later, running or expired. ``seconds`` is how long the oldest one has been
        due, has run, or has been without a valid lease; for later ones it is negative.
        """
        return Statement(self._live)

    @cached_property
    def _live(self) -> Executable:
        parts, now = self._live_parts, self._now
        kinds = (parts.c.queue, parts.c.job_name, parts.c.kind)
        return (
            select(*kinds, func.sum(parts.c.count), seconds_between(now, func.min(parts.c.since)))
            .group_by(*kinds)
            .order_by(*kinds)
        )

    def waiting(self, queues: Sequence[str], limit: int) -> Statement:
        """Count jobs that wait → queue, count, seconds; of at most ``limit`` queues.

        ``queues`` come first, then those in which most jobs wait. ``seconds`` is how long the
        oldest one has been due, or NULL if none is.
        """
        return Statement(self._waiting, {"queues": list(queues), "limit": limit})

    @cached_property
    def _waiting(self) -> Executable:
        parts = self._live_parts
        count = func.sum(parts.c.count)
        return (
            select(parts.c.queue, count, self._longest_due(parts))
            .where(parts.c.kind != literal_column("'running'"))
            .group_by(parts.c.queue)
            .order_by(
                case((one_of(parts.c.queue, "queues"), 0), else_=1), count.desc(), parts.c.queue
            )
            .limit(bindparam("limit", type_=Integer()))
        )

    def all_waiting(self) -> Statement:
        """Count the jobs that wait in all queues → count, seconds as above; NULL if none does."""
        return Statement(self._all_waiting)

    @cached_property
    def _all_waiting(self) -> Executable:
        parts = self._live_parts
        return select(func.sum(parts.c.count), self._longest_due(parts)).where(
            parts.c.kind != literal_column("'running'")
        )

    def _longest_due(self, parts: FromClause) -> ColumnElement[float]:
        since_due = case((parts.c.kind == literal_column("'due'"), parts.c.since))
        return seconds_between(self._now, func.min(since_due))

    @property
    def _live_parts(self) -> Subquery:
        job, now = self._jobs.c, self._now
        pending = status_is(job.status, JobStatus.PENDING)
        running = status_is(job.status, JobStatus.RUNNING)
        unstaged = pending & (job.ready == false())
        leased = job.worker_expires_at > now
        # Each part reads one partial index.
        return union_all(
            self._of_kind("due", job.scheduled_for, pending & (job.ready == true())),
            self._of_kind("due", job.scheduled_for, unstaged & (job.scheduled_for <= now)),
            self._of_kind("later", job.scheduled_for, unstaged & (job.scheduled_for > now)),
            self._of_kind(
                "running", job.worker_started_at, running & (job.worker_expires_at > now)
            ),
            self._of_kind("expired", job.worker_expires_at, running & ~leased),
        ).subquery("parts")

    def _of_kind(
        self, kind: str, since: ColumnElement[datetime], condition: ColumnElement[bool]
    ) -> Select[Any]:
        job = self._jobs.c
        return (
            select(
                job.queue,
                job.job_name,
                literal_column(f"'{kind}'").label("kind"),
                func.count().label("count"),
                func.min(since).label("since"),
            )
            .where(condition)
            .group_by(job.queue, job.job_name)
        )

    def ended(
        self,
        *,
        floor: str,
        within: float | None,
        queues: Sequence[str] = (),
        job_names: Sequence[str] = (),
    ) -> Statement:
        """Summarise ended jobs, among those that were enqueued in the last ``within`` seconds.

        → job_name, status, count, and the mean, p50, p95 and longest run time of the last attempts,
        in seconds. ``floor`` is the lower bound of such jobs' ids. With ``within=None``, all count.
        """
        job = self._jobs.c
        conditions: list[ColumnElement[bool]] = [status_is(job.status, *sorted(FINISHED))]
        values: dict[str, Any] = {}
        if within is not None:
            conditions += [job.id >= _FLOOR, job.created_at > self._ago("within")]
            values |= {"floor": floor, "within": -within}
        for column, name, several in (
            (job.queue, "queues", queues),
            (job.job_name, "job_names", job_names),
        ):
            if several:
                conditions.append(one_of(column, name))
                values[name] = list(several)
        return Statement(self._summary_of(*conditions), values)

    def _summary_of(self, *conditions: ColumnElement[bool]) -> Executable:
        job = self._jobs.c
        times = (
            select(
                job.job_name,
                job.status,
                seconds_between(job.completed_at, job.handler_started_at).label("seconds"),
            )
            .where(*conditions)
            .subquery("times")
        )
        same = (times.c.job_name, times.c.status)
        # The share of run times that aren't longer. Jobs that never ran have none, and come last.
        share = (
            func.row_number().over(partition_by=same, order_by=times.c.seconds.nulls_last()) * 1.0
        ) / func.nullif(func.count(times.c.seconds).over(partition_by=same), 0)
        ranked = select(*same, times.c.seconds, share.label("share")).subquery("ranked")
        seconds = ranked.c.seconds

        def percentile(at: str) -> ColumnElement[Any]:
            return func.min(case((ranked.c.share >= literal_column(at), seconds), else_=null()))

        return (
            select(
                ranked.c.job_name,
                ranked.c.status,
                func.count(),
                func.avg(seconds),
                percentile("0.5"),
                percentile("0.95"),
                func.max(seconds),
            )
            .group_by(ranked.c.job_name, ranked.c.status)
            .order_by(ranked.c.job_name, ranked.c.status)
        )

    def activity(self, *, floor: str, within: float) -> Statement:
        """Count the jobs that workers run, or have ended in the last ``within`` seconds.

        → worker_id, queue, job_name, kind (running or ended), count, seconds since the last sign
        of life. Ended jobs whose ids are less than ``floor`` don't count.
        """
        return Statement(self._activity, {"floor": floor, "within": -within})

    @cached_property
    def _activity(self) -> Executable:
        job = self._jobs.c
        known = job.worker_id.is_not(None)
        signs: CompoundSelect[Any] = union_all(
            self._signs("running", job.updated_at, status_is(job.status, JobStatus.RUNNING)),
            self._signs(
                "ended",
                job.completed_at,
                and_(job.id >= _FLOOR, job.completed_at > self._ago("within"), known),
            ),
        )
        seen = signs.subquery("seen")
        return select(
            seen.c.worker_id,
            seen.c.queue,
            seen.c.job_name,
            seen.c.kind,
            seen.c.count,
            seconds_between(self._now, seen.c.last),
        ).order_by(seen.c.worker_id, seen.c.queue, seen.c.job_name, seen.c.kind)

    def _signs(
        self, kind: str, sign: ColumnElement[datetime], condition: ColumnElement[bool]
    ) -> Select[Any]:
        job = self._jobs.c
        whose = (job.worker_id, job.queue, job.job_name)
        return (
            select(
                *whose,
                literal_column(f"'{kind}'").label("kind"),
                func.count().label("count"),
                func.max(sign).label("last"),
            )
            .where(condition)
            .group_by(*whose)
        )

    def _ago(self, name: str) -> ColumnElement[datetime]:
        return add_seconds(self._now, bindparam(name, type_=Float()))
