"""The tables that server-jobs works on, for programs that read them by SQLAlchemy.

:func:`tables` gives the ``Table`` objects of an installation, whose names may have a prefix or lie
in a PostgreSQL schema. The columns are described on the page about the schema.
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
