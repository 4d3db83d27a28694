"""The ``env.py`` of an application with migrations of its own beside those of server-jobs."""

from alembic import context
from sqlalchemy import Column, Integer, MetaData, NullPool, Table, create_engine

from server_jobs.migrate import include_name

# In an application: from myapp.models import Base; target_metadata = Base.metadata
target_metadata = MetaData()
Table("orders", target_metadata, Column("id", Integer, primary_key=True))

url = context.config.get_main_option("sqlalchemy.url") or ""
engine = create_engine(url, poolclass=NullPool)
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=target_metadata,
        include_name=include_name,  # autogenerate leaves the tables of server-jobs alone
    )
    with context.begin_transaction():
        context.run_migrations()
