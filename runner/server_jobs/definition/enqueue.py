"""Makes a new row of a job and its options, and inserts it in the caller's transaction."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sqlalchemy import TwoPhaseTransaction
from sqlalchemy.exc import DBAPIError

from server_jobs.database import Database
from server_jobs.definition.definition import JobDefinition
from server_jobs.definition.options import (
    check_max_attempts,
    check_priority,
    check_text,
    seconds_of,
)
from server_jobs.errors import DatabaseError, DataRefusedError, InvalidOptionError
from server_jobs.records.ids import new_id
from server_jobs.records.names import KEY, QUEUE
from server_jobs.records.rows import NewJob
from server_jobs.sql.statement import Statement
from server_jobs.store.store import Store

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session

CallersConnection: TypeAlias = "Connection | Session | AsyncConnection | AsyncSession"

P = TypeVar("P")

_STALE = "0A000"
"""PostgreSQL's code of "cached plan must not change result type"."""

_LONGEST_DELAY = 10 * 366 * 86_400.0


def new_job(
    definition: JobDefinition[P, Any],
    params: P,
    *,
    max_bytes: int,
    scheduled_for: datetime | None = None,
    delay: timedelta | float | None = None,
    priority: int | None = None,
    queue: str | None = None,
    correlation_id: str | None = None,
    unique_key: str | None = None,
    max_attempts: int | None = None,
) -> NewJob:
    """Return a pending row for validated params. Raises InvalidParamsError, InvalidOptionError."""
    name = definition.name
    if scheduled_for is not None and delay is not None:
        raise InvalidOptionError(f"{name}: give scheduled_for or delay, not both")
    if scheduled_for is not None:
        scheduled_for = _moment(scheduled_for, name)
    seconds = seconds_of(delay or 0, "delay", name)
    if not 0 <= seconds <= _LONGEST_DELAY:
        raise InvalidOptionError(
            f"{name}: a delay of {seconds} s isn't between 0 seconds and ten years"
        )
    for option, text in (("correlation_id", correlation_id), ("unique_key", unique_key)):
        if text is not None:
            check_text(option, text, name, KEY)
    check_overrides(name, queue=queue, priority=priority, max_attempts=max_attempts)
    return NewJob(
        id=new_id(),
        job_name=name,
        params=definition.params.dump(params, max_bytes=max_bytes),
        queue=definition.queue if queue is None else queue,
        priority=definition.priority if priority is None else priority,
        scheduled_for=scheduled_for,
        delay_seconds=seconds,
        max_attempts=definition.max_attempts if max_attempts is None else max_attempts,
        retry_policy=definition.retry_policy.to_json(),
        timeout_seconds=definition.timeout_seconds,
        unique_key=unique_key,
        correlation_id=correlation_id,
        runtime=definition.runtime.to_json() if definition.runtime else None,
    )


def check_overrides(
    job_name: str, *, queue: str | None, priority: int | None, max_attempts: int | None
) -> None:
    """Check options that replace the job's own, if they aren't None. Raises InvalidOptionError."""
    if queue is not None:
        check_text("queue", queue, job_name, QUEUE)
    if priority is not None:
        check_priority(priority, job_name)
    if max_attempts is not None:
        check_max_attempts(max_attempts, job_name)


def _moment(value: object, job_name: str) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidOptionError(
            f"{job_name}: scheduled_for={value!r} isn't a datetime with a time zone; use"
            " datetime.now(UTC) + …, or give it a tzinfo"
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidOptionError(
            f"{job_name}: scheduled_for={value!r} is out of range in UTC"
        ) from None


async def enqueue_in_transaction(
    new: Sequence[NewJob], connection: CallersConnection, database: Database
) -> list[str]:
    """Insert jobs in the caller's transaction → their ids, or those of live jobs with their keys.

    Nothing is awaited where the connection is synchronous.
    """
    _check_dialect(connection, database, new[0].job_name)
    store = Store(database)
    ids = []
    insert = store.enqueue_statement(new, two_phase=await _is_two_phase(connection))
    inserted = {row[0] for row in await _run(connection, insert, new[0].job_name)}
    for job in new:
        job_id = job.id
        if job_id not in inserted and job.unique_key is not None:
            found = await _run(connection, store.find_statement(job), job.job_name)
            if not found:
                raise DatabaseError(
                    f"{job.job_name}: the holder of unique key {job.unique_key!r} isn't visible to"
                    " this transaction; enqueue again"
                )
            job_id = found[0][0]
        ids.append(job_id)
    return ids


async def _is_two_phase(connection: Any) -> bool:
    """Tell whether the transaction will be prepared before it is committed.

    Only a session is asked for its connection, which it takes for the INSERT in any case.
    """
    if hasattr(connection, "get_bind"):
        connection = connection.connection()
        if inspect.isawaitable(connection):
            connection = await connection
    connection = getattr(connection, "sync_connection", connection)
    return isinstance(connection.get_transaction(), TwoPhaseTransaction)


async def _run(connection: CallersConnection, statement: Statement, job_name: str) -> Sequence[Any]:
    try:
        result: Any = connection.execute(statement.shape, _spread(statement))
        if inspect.isawaitable(result):
            result = await result
        rows: Sequence[Any] = result.all()
    except DBAPIError as error:
        # SQLAlchemy wraps asyncpg's error in one of its own, which lacks the code.
        behind = (error.orig, getattr(error.orig, "__cause__", None))
        if _STALE not in {getattr(one, "sqlstate", None) for one in behind}:
            raise
        raise DatabaseError(
            f"{job_name}: the tables have changed since this connection prepared its statements, so"
            " that PostgreSQL refuses one: roll back, and run the transaction again"
        ) from error
    except UnicodeError as error:
        raise DataRefusedError(
            f"{job_name}: connection= can't send this text ({error}): let its client_encoding be"
            " UTF8"
        ) from error
    return rows


def _spread(statement: Statement) -> Mapping[str, Any]:
    """Return values under each name that a dialect may give them (see ``rowset.rows``)."""
    spread = dict(statement.values)
    for name, value in statement.values.items():
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            spread |= {f"{name}.{index}": value for index in range(len(value[0]))}
    return spread


def _check_dialect(connection: CallersConnection, database: Database, job_name: str) -> None:
    bind: Any = connection
    if hasattr(bind, "get_bind"):
        bind = bind.get_bind()
    dialect = getattr(bind, "dialect", None)
    if dialect is None or not hasattr(connection, "execute"):
        raise InvalidOptionError(
            f"{job_name}: connection={connection!r} isn't a SQLAlchemy Connection, Session,"
            " AsyncConnection or AsyncSession"
        )
    if dialect.name != database.dialect.name:
        raise InvalidOptionError(
            f"{job_name}: connection= speaks {dialect.name}, the job's database is"
            f" {database.dialect.name}: a transaction can't span both"
        )
