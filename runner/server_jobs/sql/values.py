"""Says what a value of each column may be: its type, its length, its range.

A type of PostgreSQL says much of this by itself. SQLite takes any value in any column, and bytes
that are no text as text; so there the type is a condition like the others.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Float, Integer, String, Table, Text

from server_jobs.sql.column_types import JsonText, UtcDateTime

_TEN_YEARS = 10 * 366 * 86_400
_MOST_COUNTED = 1_000_000_000
"""Far below the end of the type, so that what is counted on never reaches it."""

_LONGEST_NAME = 1_000
"""Bytes: an index of PostgreSQL takes 2,700 in an entry, and one has two names in it."""

_ELSEWHERE = {"status", "progress", "overlap", "catchup"}
"""Columns of which a constraint in ``rules`` says all. It says the least of those in ``_MOST``."""

_MOST: dict[str, float] = {
    "attempt_count": _MOST_COUNTED,
    "launch_failures": _MOST_COUNTED,
    "release_count": _MOST_COUNTED,
    "disruptions": _MOST_COUNTED,
    # JavaScript, and so D1, counts to 2^53.
    "fence": 9_000_000_000_000_000,
    "catchup_limit": 10_000,
    "jitter_seconds": _TEN_YEARS,
    "timeout_seconds": _TEN_YEARS,
    # Any number of seconds is one, but infinity.
    "catchup_window_seconds": 1e308,
}
_TEXTS = {
    # Texts that are written for people may be empty.
    "worker_id": (0, _LONGEST_NAME),
    "progress_message": (0, 100_000),
    "error": (0, 1_000_000),
    "last_note": (0, 100_000),
}
_MOST_ERRORS = 100
_LARGEST_OPTIONS = 100_000

# What SQLite reads where bytes are no character, and the two characters that it reads as that.
_NOT_READ, _READ_SO = "char(65533)", ("char(65534)", "char(65535)")


def conditions_on(table: Table, *, postgres: bool) -> dict[str, str]:
    """Return the conditions that each row of the table must fulfil, by short names."""
    conditions = {}
    for column in table.c:
        condition = _condition_on(column, postgres=postgres)
        if condition is not None:
            # PostgreSQL cuts names after 63 characters, of which a prefix may be 30.
            conditions[f"{column.name.removesuffix('_seconds')}_value"] = condition
    return conditions


def _condition_on(column: Column[Any], *, postgres: bool) -> str | None:
    if column.name in _ELSEWHERE:
        return None
    condition = _on_postgres(column) if postgres else _on_sqlite(column)
    if condition is None or not column.nullable or column.name == "rules":
        return condition
    return f"{column.name} IS NULL OR ({condition})"


def _on_postgres(column: Column[Any]) -> str | None:
    name = column.name
    match column.type:
        case Boolean():
            return f"{name} IS NULL" if name == "rules" else None
        case Integer() | Float():
            return _range(name)
        case UtcDateTime():
            # The ends of Python's datetime; infinity lies beyond.
            return f"{name} >= '0001-01-01 00:00:00+00' AND {name} < '10000-01-01 00:00:00+00'"
        case JsonText() if name == "errors":
            # jobs_errors_list says that it is an array.
            length = f"jsonb_array_length({name})"
            return f"CASE WHEN jsonb_typeof({name}) = 'array' THEN {length} <= {_MOST_ERRORS} END"
        case JsonText() if name in {"retry_policy", "runtime"}:
            return (
                f"jsonb_typeof({name}) = 'object' AND pg_column_size({name}) <= {_LARGEST_OPTIONS}"
            )
        case String(length=36):
            return f"{name} <> ''"
        case Text():
            least, most = _TEXTS.get(name, (1, _LONGEST_NAME))
            return f"octet_length({name}) BETWEEN {least} AND {most}"
    return None


def _on_sqlite(column: Column[Any]) -> str:
    name = column.name
    match column.type:
        case Boolean():
            return f"{name} IS NULL" if name == "rules" else f"{name} IN (0, 1)"
        case Integer():
            bounds = _range(name) or f"{name} BETWEEN {-(2**31)} AND {2**31 - 1}"
            return f"typeof({name}) = 'integer' AND {bounds}"
        case Float():
            return f"typeof({name}) = 'real' AND {_range(name)}"
        case UtcDateTime():
            # The form is another constraint's. Clocks give nine digits of a second at most.
            return f"typeof({name}) = 'text' AND length({name}) <= 29"
        case JsonText():
            return _document(name)
        case String(length=36):
            return f"{_is_text(name)} AND length({name}) BETWEEN 1 AND 36"
    least, most = _TEXTS.get(name, (1, _LONGEST_NAME))
    return f"{_is_text(name)} AND length(CAST({name} AS BLOB)) BETWEEN {least} AND {most}"


def _document(name: str) -> str:
    is_text = _is_text(name)
    if name == "errors":
        # Nearly all rows have none.
        says = f"json_array_length({name}) <= {_MOST_ERRORS}"
        return f"{name} = '[]' OR ({is_text} AND {_if_json(name, says)})"
    if name in {"retry_policy", "runtime"}:
        says = f"json_type({name}) = 'object' AND length({name}) <= {_LARGEST_OPTIONS}"
        return f"{is_text} AND {_if_json(name, says)}"
    return is_text


def _if_json(name: str, says: str) -> str:
    """What isn't JSON is another constraint's business; these functions would raise an error."""
    return f"CASE WHEN json_valid({name}) THEN {says} END"


def _range(name: str) -> str | None:
    if name not in _MOST:
        return None
    above = f"{name} > 0 AND " if name == "timeout_seconds" else ""
    return f"{above}{name} <= {_MOST[name]}"


def _is_text(name: str) -> str:
    """Text of characters, without NUL.

    SQLite has no function that tells UTF-8 from other bytes, but what it has shows nearly all that
    isn't: a byte that goes on where nothing has begun counts as a character for ``length`` and not
    for ``instr``, and a byte that begins what doesn't go on is read as U+FFFD, even where no U+FFFD
    is. Bytes that happen to be read as another character stay unseen.
    """
    others = f"replace({name}, {_NOT_READ}, '?')"
    for character in _READ_SO:
        others = f"replace({others}, {character}, '?')"
    anywhere = f"'*' || {_NOT_READ} || '*'"
    return (
        f"typeof({name}) = 'text' AND instr({name}, char(0)) = 0"
        f" AND instr('x' || {name} || char(0), char(0)) = length({name}) + 2"
        f" AND ({name} NOT GLOB {anywhere} OR {others} NOT GLOB {anywhere})"
    )
