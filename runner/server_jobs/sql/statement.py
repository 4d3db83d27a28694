"""What a driver is given to run, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy.sql.base import Executable

Row: TypeAlias = tuple[Any, ...]
"""One row, decoded to Python types, in the order of the statement's columns."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement: a shape that is compiled once, and the values of this run.

    ``unless_empty`` is a cheap read that tells whether the statement would find anything to do.
    Databases with one writer ask it first, so that idle workers take no write lock; the others
    ignore it, since the statement itself is as cheap.
    """

    shape: Executable
    values: Mapping[str, Any] = field(default_factory=dict)
    unless_empty: Executable | None = None
