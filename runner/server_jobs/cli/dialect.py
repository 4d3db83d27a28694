"""The option that chooses a dialect of SQL."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

from server_jobs.database import backend_of


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
    return Dialect("postgresql" if backend_of(url) == "postgresql" else "sqlite")
