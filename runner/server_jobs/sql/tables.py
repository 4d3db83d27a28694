"""Defines the tables and their columns. Constraints and indexes are in ``server_jobs.sql.rules``.

:func:`tables` makes ``jobs``, ``cron_jobs`` and two small tables, whose names may have a prefix or
lie in a PostgreSQL schema. In ``jobs`` and ``cron_jobs`` every column has a default or may be NULL,
except ``id``, ``job_name`` and a schedule's ``name`` and ``cron_expression``. So a row that was
inserted by hand, or from another language, works.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    literal_column,
    text,
    true,
)
from sqlalchemy.sql.elements import ColumnElement

from server_jobs.records.status import JobStatus
from server_jobs.sql.column_types import JsonText, UtcDateTime
from server_jobs.sql.constructs import db_now

SCHEMA_VERSION = 4
"""The version of the tables after this release's migrations."""

OLDEST_SCHEMA = 2
"""The oldest version of the tables on which this code can work."""


def status_is(column: ColumnElement[str], *statuses: JobStatus) -> ColumnElement[bool]:
    """Compare a status with literals in the statement's text.

    With parameters instead, the database wouldn't use its partial indexes.
    """
    if len(statuses) == 1:
        return column == literal_column(f"'{statuses[0]}'")
    return column.in_([literal_column(f"'{status}'") for status in statuses])


_LONGEST_CHANNEL = 63
"""PostgreSQL refuses to notify on a channel with a longer name, in bytes."""


@dataclass(frozen=True)
class Tables:
    """Holds the tables of one installation."""

    metadata: MetaData
    jobs: Table
    cron_jobs: Table
    leases: Table
    info: Table
    schema: str | None
    prefix: str

    @property
    def channel(self) -> str:
        """The PostgreSQL notification channel that tells workers of new jobs."""
        name = "_".join(part for part in (self.schema, f"{self.prefix}server_jobs") if part)
        if len(name) <= _LONGEST_CHANNEL:
            return name
        return f"server_jobs_{sha256(name.encode()).hexdigest()[:32]}"

    @property
    def alembic_version(self) -> str:
        """The name of Alembic's version table, which is never the user's ``alembic_version``."""
        return f"{self.prefix}server_jobs_version"


# Ids have 36 characters in every database. UUIDv7 sorts by its bytes, which is also cheapest.
_ID = String(36).with_variant(String(36, collation="C"), "postgresql")


def _id(name: str, *, primary_key: bool = False) -> Column[str]:
    return Column(name, _ID, primary_key=primary_key, nullable=not primary_key)


def _jobs(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}jobs",
        metadata,
        _id("id", primary_key=True),
        Column("job_name", Text, nullable=False),
        Column("queue", Text, nullable=False, server_default=text("'default'")),
        Column("priority", Integer, nullable=False, server_default=text("0")),
        Column("params", JsonText, nullable=False, server_default=text("'{}'")),
        Column("result", JsonText),
        Column("status", Text, nullable=False, server_default=text("'pending'")),
        # Internal: true once a pending job is due. Claims look only at rows that are ready.
        Column("ready", Boolean, nullable=False, server_default=false()),
        Column("progress", Float, nullable=False, server_default=text("0")),
        Column("progress_message", Text),
        Column("error", Text),
        Column("errors", JsonText, nullable=False, server_default=text("'[]'")),
        Column("attempt_count", Integer, nullable=False, server_default=text("0")),
        Column("max_attempts", Integer, nullable=False, server_default=text("3")),
        Column("retry_policy", JsonText),
        Column("scheduled_for", UtcDateTime, nullable=False, server_default=db_now()),
        Column("timeout_seconds", Float),
        Column("fence", BigInteger, nullable=False, server_default=text("0")),
        Column("worker_id", Text),
        Column("worker_started_at", UtcDateTime),
        Column("worker_expires_at", UtcDateTime),
        Column("handler_started_at", UtcDateTime),
        Column("cancel_requested_at", UtcDateTime),
        Column("launch_failures", Integer, nullable=False, server_default=text("0")),
        Column("release_count", Integer, nullable=False, server_default=text("0")),
        Column("disruptions", Integer, nullable=False, server_default=text("0")),
        Column("unique_key", Text),
        Column("correlation_id", Text),
        _id("cron_job_id"),
        Column("cron_fire_at", UtcDateTime),
        Column("runtime", JsonText),
        Column("created_at", UtcDateTime, nullable=False, server_default=db_now()),
        Column("updated_at", UtcDateTime, nullable=False, server_default=db_now()),
        Column("completed_at", UtcDateTime),
        _rules(),
    )


def _cron_jobs(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}cron_jobs",
        metadata,
        _id("id", primary_key=True),
        Column("name", Text, nullable=False, unique=True),
        Column("job_name", Text, nullable=False),
        Column("cron_expression", Text, nullable=False),
        Column("time_zone", Text, nullable=False, server_default=text("'UTC'")),
        Column("params", JsonText, nullable=False, server_default=text("'{}'")),
        Column("queue", Text, nullable=False, server_default=text("'default'")),
        Column("priority", Integer, nullable=False, server_default=text("0")),
        Column("enabled", Boolean, nullable=False, server_default=true()),
        Column("overlap", Text, nullable=False, server_default=text("'allow'")),
        Column("catchup", Text, nullable=False, server_default=text("'latest'")),
        Column("jitter_seconds", Float, nullable=False, server_default=text("0")),
        Column("starts_at", UtcDateTime),
        Column("ends_at", UtcDateTime),
        Column("max_attempts", Integer, nullable=False, server_default=text("3")),
        Column("timeout_seconds", Float),
        Column("retry_policy", JsonText),
        Column("runtime", JsonText),
        Column("last_run_at", UtcDateTime),
        # NULL asks for the next fire time to be computed; it doesn't mean that one is due.
        Column("next_run_at", UtcDateTime),
        _id("last_job_id"),
        _id("fire_token"),
        Column("managed_by", Text, nullable=False, server_default=text("'cli'")),
        Column("created_at", UtcDateTime, nullable=False, server_default=db_now()),
        Column("updated_at", UtcDateTime, nullable=False, server_default=db_now()),
        # These two columns bound what is made up for after downtime; a NULL window is no bound.
        Column("catchup_window_seconds", Float, server_default=text("86400")),
        Column("catchup_limit", Integer, nullable=False, server_default=text("100")),
        # The decision about the last fire time, and the reason for it.
        Column("last_decision", Text),
        Column("last_note", Text),
        _rules(),
    )


def _rules() -> Column[bool]:
    """Make the column with which rules of all others came to tables that existed already.

    SQLite adds no constraint to a table, but a column with its constraints. It is always NULL.
    """
    return Column("rules", Boolean)


def _leases(metadata: MetaData, prefix: str) -> Table:
    """Make the table of leases on a name, for work that only one process may do at a time.

    The holder deletes its row when it is done.
    """
    return Table(
        f"{prefix}server_jobs_leases",
        metadata,
        Column("name", Text, primary_key=True),
        Column("holder", Text, nullable=False),
        Column("expires_at", UtcDateTime, nullable=False),
    )


@cache
def tables(schema: str | None = None, prefix: str = "") -> Tables:
    """Return the tables in a PostgreSQL ``schema`` and under a name ``prefix`` (usually neither).

    They have no constraints and indexes, since statements don't need them. Making those would
    double the time, and import the dialects of databases that aren't used.
    """
    return make_tables(schema, prefix)


def make_tables(schema: str | None, prefix: str) -> Tables:
    """Make tables as :func:`tables` does, but new ones that the caller may complete."""
    metadata = MetaData(schema=schema)
    return Tables(
        metadata=metadata,
        jobs=_jobs(metadata, prefix),
        cron_jobs=_cron_jobs(metadata, prefix),
        leases=_leases(metadata, prefix),
        # One row: the version of the tables, and the oldest code that may use them.
        info=Table(
            f"{prefix}server_jobs_schema",
            metadata,
            Column("version", Integer, nullable=False),
            Column("oldest_code", Integer, nullable=False),
        ),
        schema=schema,
        prefix=prefix,
    )
