"""Text from users' code, made fit to be stored."""

from __future__ import annotations


def clean(text: str) -> str:
    """Text that every database can store: no NUL, no lone surrogates."""
    return text.replace("\0", "�").encode("utf-8", "replace").decode()


def message_of(error: BaseException) -> str:
    """What an exception says, or its type where it says nothing, or can't even say that."""
    try:
        return str(error) or type(error).__name__
    except Exception as broken:  # noqa: BLE001 - a user's own __str__
        return f"{type(error).__name__} (its text can't be had: {type(broken).__name__})"


def utf8_size(text: str) -> int:
    """How many bytes it takes on its way to a database. Lone surrogates are counted, too."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
