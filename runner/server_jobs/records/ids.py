"""Ids: UUIDv7, as 36 characters of text that sort by when they were made."""

from __future__ import annotations


def new_id() -> str:
    """Return a new id."""
    # Imported at the first call: the library imports cryptography, which a pod that only
    # executes a job doesn't need.
    from uuid6 import uuid7

    return str(uuid7())


def random_suffix(length: int = 8) -> str:
    """Return ``digits`` hexadecimal digits, at most 12, that tell processes of one host apart."""
    return new_id()[-length:]
