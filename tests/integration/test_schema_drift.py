"""Three ways to the tables lead to the same: migrations, their SQL script, and the metadata."""

import sqlite3
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from server_jobs.migrate import migrate, migration_sql, schema_sql
from server_jobs.sql.rules import complete_tables
from server_jobs.sql.tables import SCHEMA_VERSION, tables
from tests.support.databases.catalog import postgres_catalog, sqlite_catalog
from tests.support.servers.postgres import temporary_database

VERSION_TABLE = "server_jobs_version"

# The longest one too: names beyond PostgreSQL's 63 characters would be cut.
each_prefix = pytest.mark.parametrize("prefix", ["", "p" * 30], ids=["plain", "prefix"])


def made_by_script(path: Path, script: str) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path


@each_prefix
def test_sqlite_migrations_make_what_the_metadata_describes(tmp_path: Path, prefix: str) -> None:
    migrated = tmp_path / "migrated.db"
    migrate(f"sqlite:///{migrated}", table_prefix=prefix)
    described = made_by_script(
        tmp_path / "described.db", schema_sql("sqlite", tables(prefix=prefix))
    )

    found = sqlite_catalog(migrated)
    assert found.pop(f"{prefix}{VERSION_TABLE}")
    assert found == sqlite_catalog(described)


@pytest.mark.parametrize(
    "differently",
    [
        "size FLOAT DEFAULT 1 CONSTRAINT size_range CHECK (size > 0)",
        "size INTEGER DEFAULT 2 CONSTRAINT size_range CHECK (size > 0)",
        "size INTEGER DEFAULT 1 NOT NULL CONSTRAINT size_range CHECK (size > 0)",
        "size INTEGER DEFAULT 1 CONSTRAINT size_range CHECK (size >= 0)",
        "size INTEGER DEFAULT 1 CONSTRAINT sizes CHECK (size > 0)",
        "size INTEGER DEFAULT 1",
    ],
    ids=["type", "default", "nullability", "condition", "name-of-check", "no-check"],
)
def test_sqlite_comparison_sees_differences_but_not_who_wrote_the_text(
    tmp_path: Path, differently: str
) -> None:
    create = "CREATE TABLE t (id TEXT NOT NULL, size INTEGER DEFAULT 1, PRIMARY KEY (id), "
    at_once = create + "CONSTRAINT size_range CHECK (size > 0));"
    first = "CREATE TABLE t (id TEXT NOT NULL, PRIMARY KEY (id));"
    added = first + "ALTER TABLE t ADD COLUMN size INTEGER DEFAULT 1"
    added += " CONSTRAINT size_range CHECK (size > 0);"

    expected = sqlite_catalog(made_by_script(tmp_path / "at-once.db", at_once))

    assert sqlite_catalog(made_by_script(tmp_path / "added.db", added)) == expected
    altered = made_by_script(
        tmp_path / "altered.db", f"{first} ALTER TABLE t ADD COLUMN {differently};"
    )
    assert sqlite_catalog(altered) != expected


@each_prefix
def test_sqlite_script_does_what_the_migrations_do(tmp_path: Path, prefix: str) -> None:
    migrated = tmp_path / "migrated.db"
    migrate(f"sqlite:///{migrated}", table_prefix=prefix)
    script = migration_sql("sqlite", table_prefix=prefix)
    scripted = made_by_script(tmp_path / "scripted.db", script)

    assert sqlite_catalog(scripted) == sqlite_catalog(migrated)
    assert migrate(f"sqlite:///{scripted}", table_prefix=prefix) == []


def test_script_leaves_transactions_to_whoever_applies_it() -> None:
    # D1 refuses them in migrations.
    for dialect in ("sqlite", "postgresql"):
        lines = {line.strip().upper() for line in migration_sql(dialect).splitlines()}
        assert not {"BEGIN;", "COMMIT;", "BEGIN TRANSACTION;"} & lines


@each_prefix
@pytest.mark.parametrize("schema", [None, "work"], ids=["public", "schema"])
def test_postgres_migrations_make_what_the_metadata_describes(
    postgres_server: str, prefix: str, schema: str | None
) -> None:
    names = tables(schema, prefix)
    with (
        temporary_database(postgres_server) as migrated,
        temporary_database(postgres_server) as described,
    ):
        migrate(migrated, schema=schema, table_prefix=prefix)
        with psycopg.connect(described) as connection:
            if schema:
                connection.execute(f"CREATE SCHEMA {schema}")
            connection.execute(schema_sql("postgresql", names))

        found = postgres_catalog(migrated, schema or "public")
        expected = postgres_catalog(described, schema or "public")

    ours = {row for row in found if f"{prefix}{VERSION_TABLE}" not in row}
    assert ours != found, "the migration noted no version"
    assert ours == expected


@each_prefix
@pytest.mark.parametrize("schema", [None, "work"], ids=["public", "schema"])
def test_postgres_script_does_what_the_migrations_do(
    postgres_server: str, prefix: str, schema: str | None
) -> None:
    with (
        temporary_database(postgres_server) as migrated,
        temporary_database(postgres_server) as scripted,
    ):
        migrate(migrated, schema=schema, table_prefix=prefix)
        with psycopg.connect(scripted) as connection:
            if schema:
                connection.execute(f"CREATE SCHEMA {schema}")
            script = migration_sql("postgresql", schema=schema, table_prefix=prefix)
            connection.execute(script)

        assert postgres_catalog(scripted, schema or "public") == postgres_catalog(
            migrated, schema or "public"
        )
        assert migrate(scripted, schema=schema, table_prefix=prefix) == []


def test_alembic_sees_nothing_to_do(database_url: str) -> None:
    migrate(database_url)
    engine = create_engine(
        database_url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool
    )
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "version_table": VERSION_TABLE,
                # SQLite gives expressions back in other words; their text is compared above.
                "compare_server_default": connection.dialect.name == "postgresql",
            },
        )
        differences = compare_metadata(context, complete_tables().metadata)
    engine.dispose()

    assert differences == []


def test_migrated_database_says_the_version_of_this_code(tmp_path: Path) -> None:
    path = tmp_path / "migrated.db"
    migrate(f"sqlite:///{path}")

    connection = sqlite3.connect(path)
    found = connection.execute("SELECT version, oldest_code FROM server_jobs_schema").fetchall()
    connection.close()

    assert len(found) == 1
    version, oldest_code = found[0]
    assert oldest_code <= version == SCHEMA_VERSION
