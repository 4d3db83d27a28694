"""Runs one frozen SQL file as a migration.

A step is SQL text for each family of dialects, not calls that follow today's models. When the
models change, the effect of a released step must stay the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from alembic import context, op
from sqlalchemy import TextClause, text

from server_jobs.errors import RowsInTheWayError
from server_jobs.sql.tables import Tables

SHOWN = 20
"""How many of the rows in the way are named."""

_WAY_OUT = (
    "Mend these rows (UPDATE … SET …) or delete them (DELETE … WHERE id = …), and migrate again."
    " docs/schema.md says what each column may hold, and `server-jobs migrate --sql --in-the-way`"
    " writes the query that finds all such rows."
)
_ADDS = re.compile(r"ALTER TABLE (\S+) ADD COLUMN rules ")
_UPDATES = re.compile(r"UPDATE (\S+) SET version = \d+")
_CHECK = re.compile(r"^ *(?:ADD )?CONSTRAINT (\S+) CHECK \((.*)\),?$", re.MULTILINE)


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


@dataclass(frozen=True)
class NewRules:
    """The rules that a statement adds to a table that may have rows already."""

    table: str
    conditions: dict[str, str]
    """What each rule says, by its name."""
    dialect_name: str

    def query(self, limit: int | None = None) -> str:
        """Return the SELECT of the rows that break a rule → table, id and the first such rule.

        On SQLite an id may be no text: there it is the id's bytes, in hexadecimal digits.
        """
        broken = " ".join(f"WHEN NOT ({says}) THEN '{name}'" for name, says in self._rules())
        first = "id" if self.dialect_name == "postgresql" else "hex(CAST(id AS BLOB))"
        end = f" LIMIT {limit}" if limit else ""
        return (
            f"SELECT '{self.table}' AS in_table, {first} AS id, CASE {broken} END AS rule"  # noqa: S608 - of our own files
            f" FROM {self.table} WHERE {self._broken}{end}"
        )

    @property
    def count(self) -> str:
        """The SELECT of the number of these rows."""
        return f"SELECT count(*) FROM {self.table} WHERE {self._broken}"  # noqa: S608 - of our own files

    @property
    def _broken(self) -> str:
        return "NOT (" + " AND ".join(f"({says})" for _, says in self._rules()) + ")"

    def _rules(self) -> list[tuple[str, str]]:
        # The new column itself isn't there yet.
        return [each for each in self.conditions.items() if each[1] != "rules IS NULL"]


def new_rules(statement: str, dialect_name: str) -> NewRules | None:
    """Read which rules a statement adds; None if it adds none."""
    adds = _ADDS.match(statement)
    if adds is None:
        return None
    return NewRules(adds[1], dict(_CHECK.findall(statement)), dialect_name)


def rules_of(step: str, dialect_name: str, tables: Tables) -> list[NewRules]:
    """Read which rules a step adds, table by table."""
    found = (new_rules(each, dialect_name) for each in statements_of(step, dialect_name, tables))
    return [rules for rules in found if rules is not None]


def refuse_rows_in_the_way(
    step: str, found: Sequence[tuple[str, str, str]], count: int, *, dialect_name: str
) -> None:
    """Raise RowsInTheWayError for rows of (table, id, rule), of which there are so many."""
    lines = []
    for table, row_id, rule in found:
        if dialect_name != "postgresql":
            row_id = bytes.fromhex(row_id).decode(errors="backslashreplace")
        lines.append(f"  {table} {row_id!r} breaks {rule}")
    if count > len(found):
        lines.append(f"  … and {count - len(found):,} more")
    many = "1 row breaks" if count == 1 else f"{count:,} rows break"
    raise RowsInTheWayError(
        "\n".join(
            [f"{many} a rule that step {step} adds, so nothing was changed:", *lines, _WAY_OUT]
        )
    )


def run(step: str) -> None:
    """Execute a step on Alembic's connection, or write its SQL if Alembic is offline.

    Raises RowsInTheWayError where rows break a rule that the step adds.
    """
    migration = op.get_context()
    tables: Tables = context.config.attributes["tables"]
    dialect_name = migration.dialect.name
    for statement in statements_of(step, dialect_name, tables):
        rules = new_rules(statement, dialect_name)
        if rules is not None and not context.is_offline_mode():
            _look_for_rows(step, rules)
        if dialect_name == "postgresql" and _UPDATES.match(statement):
            # The table has one row and no key, and a publication FOR ALL TABLES refuses changes of
            # rows that it can't tell apart.
            op.execute(_plain(_UPDATES.sub(r"ALTER TABLE \1 REPLICA IDENTITY FULL", statement)))
        op.execute(_plain(statement))


def _look_for_rows(step: str, rules: NewRules) -> None:
    connection = op.get_bind()
    found = [(t, i, r) for t, i, r in connection.execute(_plain(rules.query(SHOWN)))]
    if found:
        count = connection.execute(_plain(rules.count)).scalar_one()
        refuse_rows_in_the_way(step, found, count, dialect_name=rules.dialect_name)


def _plain(statement: str) -> TextClause:
    # Colons belong to formats and patterns in these files; none marks a parameter.
    return text(statement.replace(":", "\\:"))
