"""What Alembic runs: our revisions, under our own version table, in one locked transaction.

The connection (or, offline, the dialect) and the tables' names come from ``server_jobs.migrate``
by ``config.attributes``; there is no ini file.
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
