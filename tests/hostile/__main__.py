"""``python -m tests.hostile``: tries every hostile row on every kind of database.

It prints the figures, and every row that did harm.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time

from tests.hostile.culprits import try_all
from tests.hostile.places import Kind, PostgresKind, SqliteKind
from tests.hostile.rows import hostile_rows
from tests.support.servers.hrana import HranaServer
from tests.support.servers.postgres import running_server

TABLES = {"today": False, "old": True}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--on", choices=["sqlite", "postgres", "hrana"], action="append")
    parser.add_argument("--tables", choices=list(TABLES), action="append")
    parser.add_argument("--column", action="append", help="only this column, of either table")
    parser.add_argument("--state", action="append", help="only rows of this state")
    parser.add_argument("--value", action="append", help="only this value")
    parser.add_argument("--every", type=int, default=1, help="only every n-th row")
    parser.add_argument("--group", type=int, default=200, help="how many rows at once")
    parser.add_argument("--no-huge", action="store_true", help="leave out values of megabytes")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    harmful = 0
    with contextlib.ExitStack() as stack:
        for name in options.on or ("sqlite", "postgres", "hrana"):
            for tables in options.tables or TABLES:
                kind = opened(stack, name, old=TABLES[tables])
                rows = [
                    row
                    for row in hostile_rows(kind.dialect, huge=not options.no_huge)
                    if (not options.column or row.column in options.column)
                    and (not options.state or row.state in options.state)
                    and (not options.value or row.value.name in options.value)
                    and row.number % options.every == 0
                ]
                began = time.monotonic()
                found = try_all(kind, rows, group=options.group)
                print(
                    f"{name}, {tables} tables: {found.tried:,} rows tried,"
                    f" {found.refused:,} refused by the schema, {len(found.harmful):,} failing"
                    f" ({time.monotonic() - began:.0f} s)",
                    flush=True,
                )
                for row, complaints in found.harmful.items():
                    print(f"  {row}")
                    for complaint in dict.fromkeys(complaints):
                        print(f"    {complaint}")
                harmful += len(found.harmful)
    return 1 if harmful else 0


def opened(stack: contextlib.ExitStack, name: str, *, old: bool) -> Kind:
    """A kind of database that lives as long as the stack."""
    kind: PostgresKind | SqliteKind
    if name == "postgres":
        kind = PostgresKind(stack.enter_context(running_server()), old=old)
    else:
        server = stack.enter_context(HranaServer()) if name == "hrana" else None
        kind = SqliteKind(old=old, server=server)
    stack.callback(kind.close)
    return kind


if __name__ == "__main__":
    sys.exit(main())
