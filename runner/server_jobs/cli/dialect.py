"""The option that chooses a dialect of SQL."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

from server_jobs.database import parse_url


class Dialect(StrEnum):
    """A dialect of SQL. SQLite's also serves libSQL and D1."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


DialectOption: TypeAlias = Annotated[
    Dialect | None,
    typer.Option(
        "--dialect", show_default="the database's", help="The dialect of the SQL to write."
    ),
]


def dialect_of(url: str) -> Dialect:
    """Return the dialect that the database at this URL speaks."""
    postgres = parse_url(url).get_backend_name() == "postgresql"
    return Dialect("postgresql" if postgres else "sqlite")
