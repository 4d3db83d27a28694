"""Ids: UUIDv7, as 36 characters of text that sort by when they were made."""

from __future__ import annotations


def new_id() -> str:
    """One that nothing else has."""
    # Imported with the first one: the library brings cryptography along, which a pod that
    # executes a job would pay for and has no use for.
    from uuid6 import uuid7

    return str(uuid7())


def random_suffix(length: int = 8) -> str:
    """So many hexadecimal digits, at most 12, that tell processes of one host apart."""
    return new_id()[-length:]
