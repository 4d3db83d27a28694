"""Runs the revisions for Alembic, in one transaction and with a version table of our own.

There is no ini file. ``server_jobs.migrate`` passes the connection (offline: the dialect) and the
tables' names by ``config.attributes``.
"""

from __future__ import annotations

from alembic import context

attributes = context.config.attributes
tables = attributes["tables"]
connection = attributes.get("connection")

options = {
    "version_table": tables.alembic_version,
    "version_table_schema": tables.schema,
    "transactional_ddl": True,
}
if connection is None:
    context.configure(dialect_name=attributes["dialect_name"], **options)
else:
    context.configure(connection=connection, **options)

with context.begin_transaction():
    context.run_migrations()
