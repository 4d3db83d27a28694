"""Runs one frozen SQL file as a migration.

A step is SQL text for each family of dialects, not calls that follow today's models. When the
models change, the effect of a released step must stay the same.
"""

from __future__ import annotations

from importlib.resources import files
from string import Template

from alembic import context, op
from sqlalchemy import text

from server_jobs.sql.tables import Tables


def statements_of(step: str, dialect_name: str, tables: Tables) -> list[str]:
    """Read the statements of a step, with the tables' schema and prefix filled in."""
    family = "postgresql" if dialect_name == "postgresql" else "sqlite"
    source = files("server_jobs.migrations") / "sql" / f"{step}.{family}.sql"
    names = {
        "schema": f'"{tables.schema}".' if tables.schema else "",
        "prefix": tables.prefix,
    }
    script = Template(source.read_text(encoding="utf-8")).substitute(names)
    return [statement.strip() for statement in script.split(";\n") if statement.strip()]


def run(step: str) -> None:
    """Execute a step on Alembic's connection, or write its SQL if Alembic is offline."""
    migration = op.get_context()
    tables: Tables = context.config.attributes["tables"]
    for statement in statements_of(step, migration.dialect.name, tables):
        # Colons belong to formats and patterns in these files; none marks a parameter.
        op.execute(text(statement.replace(":", "\\:")))
