"""Defines the statement that a driver runs, the rows that it returns, and what can't be decoded."""

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


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in a row for a value that can't be decoded, so that the other values can be.

    ``shown`` is the value as a person may see it, ``why`` says what is wrong with it.
    """

    shown: str
    why: str


class RawText(str):
    r"""Text of the database that isn't UTF-8. SQLite stores it, if another program wrote it so.

    It is shown with escapes (``caf\xe9``). Its characters carry its bytes (``surrogateescape``),
    so that the driver can name the same text to the database again.
    """

    __slots__ = ()

    @classmethod
    def of(cls, raw: bytes) -> RawText:
        """Keep bytes as text."""
        return cls(raw.decode("utf-8", "surrogateescape"))

    def __str__(self) -> str:
        return self.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __repr__(self) -> str:
        return repr(self.encode("utf-8", "surrogateescape"))
