"""What a database says of its own tables, so that two of them can be compared."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import psycopg

Catalog = set[tuple[Any, ...]]


def sqlite_catalog(path: Path) -> dict[str, frozenset[str]]:
    """What every table and index consists of, by its name, without what makes no difference.

    SQLite keeps a table's definition as text, and ALTER TABLE writes at the end of it: a column
    with its CHECK comes after the table's own ones. So definitions are compared as a set, each
    CHECK apart from its column. All else of the text counts.
    """
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {
            name: _definitions(sql) if kind == "table" else frozenset([_without_white_space(sql)])
            for kind, name, sql in rows
        }
    finally:
        connection.close()


def _definitions(create_table: str) -> frozenset[str]:
    head, _, rest = _without_white_space(create_table).partition("(")
    body, _, options = rest.rpartition(")")
    parts = [head, options]
    for definition in _split_outside_parentheses(body):
        # A column may have brought several.
        column, *checks = re.split(r"\s*\b(?=CONSTRAINT )", definition)
        parts += [one for one in (column, *checks) if one]
    # A repeated definition would vanish in a set.
    assert len(set(parts)) == len(parts), parts
    return frozenset(parts)


def _split_outside_parentheses(text: str) -> list[str]:
    parts, depth = [""], 0
    for token in re.findall(r"'[^']*'|[(),]|[^'(),]+", text):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if token == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return parts


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
