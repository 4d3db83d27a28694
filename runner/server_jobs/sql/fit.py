"""Tells whether the values of a row have the types of their columns, and mends those that haven't.

Other programs write rows, too. SQLite keeps any type in any column, and PostgreSQL has moments and
numbers that Python hasn't.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Column, Float, Integer

from server_jobs.records.text import shown
from server_jobs.sql.column_types import EARLIEST, UtcDateTime
from server_jobs.sql.statement import RawText, Row, Unreadable

_NAMES_THE_ROW = {"id", "name"}
"""Columns by which statements find a row: text that isn't UTF-8 has no stand-in there."""

BLOB_ID = "blob-"
"""How the ids begin that rows are given whose id was a BLOB; its digits follow."""

_WANTED: dict[type, tuple[str, Any]] = {
    bool: ("true or false", False),
    int: ("an integer", 0),
    float: ("a finite number", 0.0),
    datetime: ("a moment of the years 1 to 9999", EARLIEST),
    str: ("text in UTF-8", ""),
}
"""What a column of a type wants, in words, and what stands for a value that can't be used."""


class Fit:
    """Checks rows of certain columns."""

    def __init__(self, columns: Sequence[Column[Any]]) -> None:
        self._columns = [
            (column.name, _type_of(column), bool(column.nullable)) for column in columns
        ]
        self._fitting: dict[tuple[type, ...], bool] = {}
        self._numbers = [
            index for index, (_, wanted, _) in enumerate(self._columns) if wanted is float
        ]

    def __call__(self, row: Row) -> bool:
        """Tell whether every value has its column's type. This is fast: it looks types up."""
        types = tuple(map(type, row))
        fits = self._fitting.get(types)
        if fits is None:
            fits = self._fitting[types] = all(
                _may_be(type_, wanted, nullable)
                for type_, (_, wanted, nullable) in zip(types, self._columns, strict=True)
            )
        if not fits:
            return False
        for index in self._numbers:
            value = row[index]
            if value is not None and not math.isfinite(value):
                return False
        return True

    def misfits(self, row: Row) -> dict[str, str]:
        """Say by column what is wrong with a row's values → empty where nothing is."""
        return {
            name: problem
            for value, (name, wanted, nullable) in zip(row, self._columns, strict=True)
            if (problem := _problem(value, wanted, nullable)) is not None
        }

    def mended(self, row: Row) -> Row:
        """Return the row with a stand-in for each value that doesn't fit.

        That is the value as text in a column of text, None where the column may be NULL, otherwise
        0, False, or the earliest moment. What names the row isn't replaced.
        """
        return tuple(
            as_id(value)
            if name in _NAMES_THE_ROW
            else _stand_in(value, wanted, nullable)
            if _problem(value, wanted, nullable)
            else value
            for value, (name, wanted, nullable) in zip(row, self._columns, strict=True)
        )


def as_id(value: Any) -> Any:
    """Return an id as text that names the row.

    One that is a BLOB, which SQLite keeps in any column, is named as ``name_blobs`` will rename it.
    """
    return f"{BLOB_ID}{value.hex().upper()}" if isinstance(value, bytes) else value


def as_text(value: Any) -> str:
    """Return the value of a column of text as text that can be shown."""
    match value:
        case RawText():
            return str(value)
        case str():
            return value
        case bytes():
            return str(RawText.of(value))
        case _:
            return shown(value)


def _type_of(column: Column[Any]) -> type:
    match column.type:
        case Boolean():
            return bool
        case Integer():
            return int
        case Float():
            return float
        case UtcDateTime():
            return datetime
        case _:
            return str


def _may_be(type_: type, wanted: type, nullable: bool) -> bool:
    # SQLite returns a whole number of a column of floats as an integer.
    null = nullable and type_ is type(None)
    return type_ is wanted or null or (wanted is float and type_ is int)


def _problem(value: Any, wanted: type, nullable: bool) -> str | None:
    type_ = type(value)
    if _may_be(type_, wanted, nullable) and not (type_ is float and not math.isfinite(value)):
        return None
    text = value.shown if type_ is Unreadable else shown(value)
    return f"holds {text}, which isn't {_WANTED[wanted][0]}"


def _stand_in(value: Any, wanted: type, nullable: bool) -> Any:
    if wanted is str and value is not None:
        return as_text(value)
    return None if nullable else _WANTED[wanted][1]
