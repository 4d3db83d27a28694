"""Statements that read jobs and change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import (
    CompoundSelect,
    Float,
    Text,
    and_,
    bindparam,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.records.requests import JobFilter
from server_jobs.records.rows import RECORD_COLUMNS, JobSummary
from server_jobs.records.status import FINISHED, JobStatus
from server_jobs.sql.constructs import add_seconds, seconds_between
from server_jobs.sql.rowset import one_of, rows
from server_jobs.sql.statement import Statement
from server_jobs.sql.tables import status_is
from server_jobs.store.statements.shared import ID, LIMIT, JobStatements


class ReadStatements(JobStatements):
    """Answers questions about jobs, and changes no row."""

    def summaries(self, job_ids: Sequence[str]) -> Statement:
        """Read how these jobs stand → the columns of a summary, for each that exists."""
        return Statement(self._summaries, {"ids": [(job_id,) for job_id in job_ids]})

    @cached_property
    def _summaries(self) -> Executable:
        ids = rows("ids", id=Text())
        return select(*self._summary).where(self._jobs.c.id == ids.c.id)

    def ended(self, job_ids: Iterable[str]) -> Statement:
        """Find those of these jobs that have ended, or have no record any more → id."""
        return Statement(self._ended, {"ids": [(job_id,) for job_id in job_ids]})

    @cached_property
    def _ended(self) -> Executable:
        ids, job = rows("ids", id=Text()), self._jobs.c
        found = ids.outerjoin(self._jobs, job.id == ids.c.id)
        has_ended = status_is(job.status, *sorted(FINISHED))
        return select(ids.c.id).select_from(found).where(or_(job.id.is_(None), has_ended))

    def get(self, job_id: str) -> Statement:
        """Read one record → all its columns."""
        return Statement(self._get, {"id": job_id})

    @cached_property
    def _get(self) -> Executable:
        return select(*self._record).where(self._jobs.c.id == ID)

    def by_prefix(self, prefix: str, limit: int) -> Statement:
        """Read records whose id begins with ``prefix`` → all their columns."""
        values = {"from": prefix, "to": prefix + "\uffff", "limit": limit}
        return Statement(self._by_prefix, values)

    @cached_property
    def _by_prefix(self) -> Executable:
        job = self._jobs.c
        return (
            select(*self._record)
            .where(
                job.id >= bindparam("from", type_=Text()), job.id < bindparam("to", type_=Text())
            )
            .order_by(job.id)
            .limit(LIMIT)
        )

    def list_jobs(self, wanted: JobFilter, *, before_id: str | None, limit: int) -> Statement:
        """Read records that fit, newest first → all their columns."""
        return self._page(self._record, wanted, before_id, limit)

    def list_ids(self, wanted: JobFilter, *, before_id: str | None, limit: int) -> Statement:
        """Read ids of jobs that fit, newest first → id."""
        return self._page([self._jobs.c.id], wanted, before_id, limit)

    def _page(
        self,
        columns: Sequence[ColumnElement[Any]],
        wanted: JobFilter,
        before_id: str | None,
        limit: int,
    ) -> Statement:
        job = self._jobs.c
        conditions, values = self._fits(wanted)
        if before_id is not None:
            conditions.append(job.id < bindparam("before_id", type_=Text()))
        page = select(*columns).where(*conditions).order_by(job.id.desc()).limit(LIMIT)
        return Statement(page, {**values, "before_id": before_id, "limit": limit})

    def tally(self, wanted: JobFilter) -> Statement:
        """Count the jobs that fit → status, count, newest id."""
        job = self._jobs.c
        conditions, values = self._fits(wanted)
        counts = select(job.status, func.count(), func.max(job.id)).where(*conditions)
        return Statement(counts.group_by(job.status), values)

    def list_live(self, wanted: JobFilter, *, limit: int) -> Statement:
        """Read pending and running jobs that fit, newest first → the columns of a summary.

        The cost grows with the live jobs only, however many have ended.
        """
        job, live = self._jobs.c, self._live_jobs.subquery("live")
        conditions, values = self._fits(wanted)
        found = (
            select(*self._summary)
            .where(job.id == live.c.id, *conditions)
            .order_by(job.id.desc())
            .limit(LIMIT)
        )
        return Statement(found, {**values, "limit": limit})

    @cached_property
    def _live_jobs(self) -> CompoundSelect[Any]:
        # Three queries, since each has an index of its own, which holds live jobs only.
        job = self._jobs.c
        pending = status_is(job.status, JobStatus.PENDING)
        kinds = (
            pending & (job.ready == true()),
            pending & (job.ready == false()),
            status_is(job.status, JobStatus.RUNNING),
        )
        return union_all(*(select(job.id).where(kind) for kind in kinds))

    def _fits(self, wanted: JobFilter) -> tuple[list[ColumnElement[bool]], dict[str, Any]]:
        """Return a filter's conditions, and the values of their parameters."""
        job = self._jobs.c
        conditions: list[ColumnElement[bool]] = []
        values: dict[str, Any] = {}
        if wanted.statuses:
            conditions.append(status_is(job.status, *wanted.statuses))
        for column, name, several in (
            (job.job_name, "job_names", wanted.job_names),
            (job.queue, "queues", wanted.queues),
        ):
            if several:
                conditions.append(one_of(column, name))
                values[name] = list(several)
        if wanted.correlation_id is not None:
            conditions.append(job.correlation_id == bindparam("correlation_id", type_=Text()))
            values["correlation_id"] = wanted.correlation_id
        if wanted.older_than is not None:
            conditions.append(job.created_at <= self._ago("older_than"))
            values["older_than"] = -wanted.older_than
        if wanted.newer_than is not None:
            conditions.append(job.created_at > self._ago("newer_than"))
            values["newer_than"] = -wanted.newer_than
        return conditions, values

    def _ago(self, name: str) -> ColumnElement[datetime]:
        return add_seconds(self._now, bindparam(name, type_=Float()))

    def counts(self) -> Statement:
        """Count all jobs → job_name, queue, status, count, mean seconds of an attempt."""
        return Statement(self._counts)

    @cached_property
    def _counts(self) -> Executable:
        job = self._jobs.c
        seconds = func.avg(seconds_between(job.completed_at, job.handler_started_at))
        return (
            select(job.job_name, job.queue, job.status, func.count().label("count"), seconds)
            .group_by(job.job_name, job.queue, job.status)
            .order_by(job.job_name, job.queue, job.status)
        )

    def outstanding(
        self, *, queues: Sequence[str], job_names: Sequence[str], within_seconds: float
    ) -> Statement:
        """Return a row if a job of these is pending and due in ``within_seconds``, else none."""
        values = {
            "queues": list(queues),
            "job_names": list(job_names),
            "within_seconds": within_seconds,
        }
        return Statement(self._outstanding, values)

    @cached_property
    def _outstanding(self) -> Executable:
        job = self._jobs.c
        ours = and_(
            one_of(job.queue, "queues"),
            one_of(job.job_name, "job_names"),
            status_is(job.status, JobStatus.PENDING),
        )
        horizon = add_seconds(self._now, bindparam("within_seconds", type_=Float()))
        # Two queries, since each has an index of its own.
        return select(literal_column("1")).where(
            or_(
                exists().where(ours, job.ready == true()),
                exists().where(ours, job.ready == false(), job.scheduled_for <= horizon),
            )
        )

    def available(
        self, *, queues: Sequence[str], job_names: Sequence[str], limit: int
    ) -> Statement:
        """Count the jobs of these that can be claimed now, up to ``limit``."""
        values = {"queues": list(queues), "job_names": list(job_names), "limit": limit}
        return Statement(self._available, values)

    @cached_property
    def _available(self) -> Executable:
        job = self._jobs.c
        found = (
            select(job.id)
            .where(
                one_of(job.queue, "queues"),
                one_of(job.job_name, "job_names"),
                status_is(job.status, JobStatus.PENDING),
                job.ready == true(),
            )
            .limit(LIMIT)
            .subquery("found")
        )
        return select(func.count()).select_from(found)

    def schema_info(self) -> Statement:
        """Read the schema's version → version, oldest code that may use the tables."""
        return Statement(self._schema_info)

    @cached_property
    def _schema_info(self) -> Executable:
        return select(self._tables.info.c.version, self._tables.info.c.oldest_code)

    def clock(self) -> Statement:
        """Read the moment by which leases and due times are judged."""
        return Statement(self._clock)

    @cached_property
    def _clock(self) -> Executable:
        return select(self._now.label("now"))

    @cached_property
    def _record(self) -> list[ColumnElement[Any]]:
        return [self._jobs.c[name] for name in RECORD_COLUMNS]

    @cached_property
    def _summary(self) -> list[ColumnElement[Any]]:
        return [self._jobs.c[name] for name in JobSummary.__dataclass_fields__]
