"""Translates the refusals of libSQL and D1 into our errors.

These relatives of SQLite are reached over a network, and answer with SQLite's texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from server_jobs.errors import (
    ConstraintViolatedError,
    DatabaseError,
    DatabaseUnavailableError,
    DataRefusedError,
    MigrationRequiredError,
)

_OLD_TABLES = ("no such table", "no such column", "has no column")
_CONSTRAINT = ("sqlite_constraint", "constraint failed")

SIGNS_OF_A_VALUE = ("malformed JSON", "JSON cannot hold BLOB values")
"""What SQLite's functions say of a value that they can't work with, as general errors."""

_REFUSED = (
    "sqlite_toobig",
    "string or blob too big",
    "sqlite_mismatch",
    *(sign.lower() for sign in SIGNS_OF_A_VALUE),
)
_UNAVAILABLE = (
    "sqlite_busy",
    "sqlite_locked",
    "database is locked",
    "sqlite_full",
    "sqlite_ioerr",
    "sqlite_cantopen",
    "sqlite_readonly",
)


def error_of(
    text: str,
    *,
    migrate: str,
    refused: Sequence[str] = (),
    unavailable: Sequence[str] = (),
    otherwise: type[DatabaseError] = DatabaseError,
) -> DatabaseError | MigrationRequiredError:
    """Make the error for an answer's ``text``, which is its code and its message.

    ``migrate`` tells the person how to bring missing or old tables up to date. ``refused`` and
    ``unavailable`` are further signs of these errors, in lower case. ``otherwise`` is the error for
    a text without any sign.
    """
    lower = text.lower()

    def has(signs: Sequence[str]) -> bool:
        return any(sign in lower for sign in signs)

    if has(_CONSTRAINT):
        return ConstraintViolatedError(text)
    if has(_OLD_TABLES):
        return MigrationRequiredError(f"{text}. The tables are missing or too old: {migrate}")
    if has(_REFUSED) or has(refused):
        return DataRefusedError(text)
    if has(_UNAVAILABLE) or has(unavailable):
        return DatabaseUnavailableError(text)
    return otherwise(text)
