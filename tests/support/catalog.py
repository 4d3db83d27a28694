"""What a database says of its own tables, so that two of them can be compared."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import psycopg

Catalog = set[tuple[Any, ...]]


def sqlite_catalog(path: Path) -> dict[str, str]:
    """The SQL of every table and index by its name, without what makes no difference."""
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: _without_white_space(sql) for name, sql in rows}
    finally:
        connection.close()


def _without_white_space(text: str) -> str:
    return re.sub(r"\s*([(),])\s*", r"\1", re.sub(r"\s+", " ", text.replace('"', ""))).strip()


def postgres_catalog(url: str, schema: str = "public") -> Catalog:
    """Every column, constraint and index of a schema, as PostgreSQL itself writes them down."""
    with psycopg.connect(url) as connection:
        # Names come out qualified by whatever isn't on the search path.
        connection.execute(f"SET search_path = {schema}")
        return {
            tuple(row)
            for query in (_COLUMNS, _CONSTRAINTS, _INDEXES)
            for row in connection.execute(query, [schema])
        }


_COLUMNS = """
    SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation::text
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relnamespace = %s::regnamespace
"""

_CONSTRAINTS = """
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE conrelid <> 0 AND connamespace = %s::regnamespace
"""

_INDEXES = """
    SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = %s
"""
