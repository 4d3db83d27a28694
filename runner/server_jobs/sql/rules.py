"""Defines the constraints and indexes of the tables, which only creating the tables needs.

Invariants are CHECKs of the schema, so that no statement, ours or a person's, can write a row that
contradicts itself.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import CheckConstraint, Index, Table, false, true
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.records.status import FINISHED, JobStatus
from server_jobs.sql.column_types import JsonText, UtcDateTime
from server_jobs.sql.constructs import is_json, is_json_array, is_timestamp
from server_jobs.sql.tables import Tables, make_tables, status_is
from server_jobs.sql.values import conditions_on


@cache
def complete_tables(schema: str | None = None, prefix: str = "") -> Tables:
    """Return the tables with all their constraints and indexes, as migrations create them."""
    tables = make_tables(schema, prefix)
    _constrain_jobs(tables.jobs, prefix)
    _index_jobs(tables.jobs, prefix)
    _complete_cron_jobs(tables.cron_jobs, prefix)
    _check_formats(tables.leases, prefix)
    for table in (tables.jobs, tables.cron_jobs):
        _check_values(table)
    return tables


def _constrain_jobs(table: Table, prefix: str) -> None:
    finished = ", ".join(f"'{status}'" for status in sorted(FINISHED))
    known = ", ".join(f"'{status}'" for status in JobStatus)
    for name, condition in {
        "status_known": f"status IN ({known})",
        "progress_range": "progress >= 0 AND progress <= 100",
        "finished_iff_completed_at": f"(status IN ({finished})) = (completed_at IS NOT NULL)",
        "running_iff_leased": "(status = 'running') = (worker_expires_at IS NOT NULL)",
        "running_has_claim": "status <> 'running' OR (fence > 0 AND attempt_count > 0)",
        "counts": "attempt_count >= 0 AND max_attempts >= 1 AND fence >= 0"
        " AND launch_failures >= 0 AND release_count >= 0 AND disruptions >= 0",
    }.items():
        table.append_constraint(CheckConstraint(condition, name=f"{prefix}jobs_{name}"))
    table.append_constraint(
        CheckConstraint(is_json_array(table.c.errors), name=f"{prefix}jobs_errors_list")
    )
    _check_formats(table, prefix)


def _index_jobs(table: Table, prefix: str) -> None:
    column = table.c
    pending = status_is(column.status, JobStatus.PENDING)
    running = status_is(column.status, JobStatus.RUNNING)
    live = status_is(column.status, JobStatus.PENDING, JobStatus.RUNNING)
    for index, columns, where, unique in (
        # A claim reads its rows off this index in order, however large the table is.
        (
            "claim",
            (column.queue, column.priority.desc(), column.scheduled_for, column.id),
            pending & (column.ready == true()),
            False,
        ),
        # Pending jobs that aren't ready yet: staging reads them once a second, a claim never does.
        ("staging", (column.scheduled_for,), pending & (column.ready == false()), False),
        # Finds running jobs whose leases have expired.
        ("lease", (column.worker_expires_at,), running, False),
        # Tells a worker which of its running jobs to cancel; nearly always empty.
        (
            "cancel",
            (column.worker_id,),
            running & column.cancel_requested_at.is_not(None),
            False,
        ),
        # Allows one live job per key; a finished job no longer holds its key.
        ("unique_key", (column.job_name, column.unique_key), live, True),
        # Allows one job for each fire time of a schedule.
        (
            "cron_fire",
            (column.cron_job_id, column.cron_fire_at),
            column.cron_job_id.is_not(None),
            True,
        ),
        # Tells whether an earlier job of a schedule is live; asked before each fire time.
        ("cron_live", (column.cron_job_id,), live & column.cron_job_id.is_not(None), False),
        ("correlation", (column.correlation_id,), column.correlation_id.is_not(None), False),
    ):
        if index == "unique_key":
            where = column.unique_key.is_not(None) & where
        _index(f"{prefix}jobs_{index}", *columns, where=where, unique=unique)


def _complete_cron_jobs(table: Table, prefix: str) -> None:
    for name, condition in {
        "overlap_known": "overlap IN ('allow', 'skip', 'queue', 'replace')",
        "catchup_known": "catchup IN ('none', 'latest', 'all')",
        "jitter_range": "jitter_seconds >= 0",
        "attempts": "max_attempts >= 1",
        "catchup_range": "catchup_window_seconds > 0",
        "catchup_count": "catchup_limit >= 1",
    }.items():
        table.append_constraint(CheckConstraint(condition, name=f"{prefix}cron_jobs_{name}"))
    _check_formats(table, prefix)
    _index(
        f"{prefix}cron_jobs_due", table.c.next_run_at, where=table.c.enabled == true(), unique=False
    )


def _index(
    name: str, *columns: ColumnElement[Any], where: ColumnElement[bool], unique: bool
) -> None:
    Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _check_formats(table: Table, prefix: str) -> None:
    """Add CHECKs of JSON and timestamps, for databases that have no types for these."""
    for column in table.c:
        if isinstance(column.type, JsonText):
            check = CheckConstraint(is_json(column), name=f"{table.name}_{column.name}_json")
        elif isinstance(column.type, UtcDateTime):
            check = CheckConstraint(is_timestamp(column), name=f"{table.name}_{column.name}_time")
        else:
            continue
        table.append_constraint(check.ddl_if(callable_=_has_no_such_type))


def _check_values(table: Table) -> None:
    """Add a CHECK of each column's values, as far as a dialect's types don't say it."""
    for dialect, postgres in (("postgresql", True), ("sqlite", False)):
        for name, condition in conditions_on(table, postgres=postgres).items():
            check = CheckConstraint(condition, name=f"{table.name}_{name}")
            table.append_constraint(check.ddl_if(dialect))


def _has_no_such_type(*_: object, dialect: object = None, **__: object) -> bool:
    return getattr(dialect, "name", None) != "postgresql"
