"""The tables of server-jobs, for programs that read them with SQLAlchemy.

:func:`tables` returns the ``Table`` objects of an installation. Their names may have a prefix or
lie in a PostgreSQL schema. ``docs/schema.md`` describes the columns.
"""

from server_jobs.records.status import JobStatus
from server_jobs.sql.tables import OLDEST_SCHEMA, SCHEMA_VERSION, Tables, tables

__all__ = [
    "OLDEST_SCHEMA",
    "SCHEMA_VERSION",
    "JobStatus",
    "Tables",
    "tables",
]
