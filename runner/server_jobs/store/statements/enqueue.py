"""Statements that insert jobs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import Float, Integer, Text, bindparam, case, insert, literal_column, select
from sqlalchemy.sql.base import Executable
from sqlalchemy.types import TypeEngine

from server_jobs.records.rows import NewJob
from server_jobs.records.status import JobStatus
from server_jobs.sql.column_types import JsonText, UtcDateTime
from server_jobs.sql.constructs import add_seconds, insert_or_ignore, notifying
from server_jobs.sql.rowset import rows
from server_jobs.sql.statement import Statement
from server_jobs.sql.tables import status_is
from server_jobs.store import transitions
from server_jobs.store.statements.shared import LEASE_SECONDS, WORKER_ID, JobStatements, Rows

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


NEW_COLUMNS: dict[str, TypeEngine[Any]] = {
    "id": Text(),
    "job_name": Text(),
    "params": JsonText(),
    "queue": Text(),
    "priority": Integer(),
    "scheduled_for": UtcDateTime(),
    "delay_seconds": Float(),
    "max_attempts": Integer(),
    "retry_policy": JsonText(),
    "timeout_seconds": Float(),
    "unique_key": Text(),
    "correlation_id": Text(),
    "runtime": JsonText(),
}


class EnqueueStatements(JobStatements):
    """Inserts new rows, and finds the live rows that hold their unique keys."""

    def enqueue(self, new: Sequence[NewJob], *, announced: bool = True) -> Statement:
        """Insert pending rows, except where the id or the live unique key exists → inserted ids.

        On PostgreSQL it also notifies listening workers, if the jobs are to be ``announced``.
        """
        values = [tuple(getattr(job, column) for column in NEW_COLUMNS) for job in new]
        shape = self._enqueue if announced and self._postgres else self._enqueue_quietly
        return Statement(shape, {"new": values})

    @cached_property
    def _enqueue(self) -> Executable:
        job = self._jobs.c
        return notifying(
            self._insert_new.returning(job.id, job.queue, job.ready), self._tables.channel
        )

    @cached_property
    def _enqueue_quietly(self) -> Executable:
        return self._insert_new.returning(self._jobs.c.id)

    @cached_property
    def _insert_new(self) -> postgresql.Insert | sqlite.Insert:
        new = rows("new", **NEW_COLUMNS)
        due = case(
            (new.c.scheduled_for.is_not(None), new.c.scheduled_for),
            else_=add_seconds(self._now, new.c.delay_seconds),
        )
        given = [
            column for column in NEW_COLUMNS if column not in {"scheduled_for", "delay_seconds"}
        ]
        source = select(
            *(new.c[column] for column in given),
            due,
            case(
                (new.c.scheduled_for.is_not(None), new.c.scheduled_for <= self._now),
                else_=new.c.delay_seconds <= 0,
            ),
            self._now,
            self._now,
            # SQLite's grammar needs a WHERE between a SELECT and ON CONFLICT.
        ).where(literal_column("1") == literal_column("1"))
        columns = [*given, "scheduled_for", "ready", "created_at", "updated_at"]
        return insert_or_ignore(self._jobs, columns, source, postgres=self._postgres)

    def live_by_key(self, keys: Rows) -> Statement:
        """Find live jobs by (job_name, unique_key) → id, job_name, unique_key."""
        return Statement(self._live_by_key, {"keys": keys})

    @cached_property
    def _live_by_key(self) -> Executable:
        keys = rows("keys", job_name=Text(), unique_key=Text())
        job = self._jobs.c
        return select(job.id, job.job_name, job.unique_key).where(
            job.job_name == keys.c.job_name,
            job.unique_key == keys.c.unique_key,
            status_is(job.status, JobStatus.PENDING, JobStatus.RUNNING),
        )

    def insert_running(self, new: NewJob, *, worker_id: str, lease_seconds: float) -> Statement:
        """Insert a row that the caller executes at once → the claimed job."""
        values = {
            "id": new.id,
            "job_name": new.job_name,
            "params": new.params,
            "queue": new.queue,
            "timeout_seconds": new.timeout_seconds,
            "correlation_id": new.correlation_id,
            "worker_id": worker_id,
            "lease_seconds": lease_seconds,
        }
        return Statement(self._insert_running, values)

    @cached_property
    def _insert_running(self) -> Executable:
        given = ("id", "job_name", "params", "queue", "timeout_seconds", "correlation_id")
        columns = {name: bindparam(name, type_=self._jobs.c[name].type) for name in given}
        changes = transitions.born_running(
            self._now, worker_id=WORKER_ID, lease_seconds=LEASE_SECONDS
        )
        return insert(self._jobs).values(**columns, **changes).returning(*self._claimed)
