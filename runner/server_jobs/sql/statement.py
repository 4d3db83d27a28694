"""Defines the statement that a driver runs, and the rows that it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy.sql.base import Executable

Row: TypeAlias = tuple[Any, ...]
"""One row, decoded to Python types, in the order of the statement's columns."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Holds one SQL statement: a shape that is compiled once, and the values of this run.

    ``unless_empty`` is a cheap query. If it returns no row, the statement would find nothing to do.
    Databases with a single writer run it first, so that idle workers take no write lock. The others
    ignore it, since the statement itself is as cheap there.
    """

    shape: Executable
    values: Mapping[str, Any] = field(default_factory=dict)
    unless_empty: Executable | None = None
