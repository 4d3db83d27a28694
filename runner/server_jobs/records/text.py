"""Text from users' code, made fit to be stored."""

from __future__ import annotations


def clean(text: str) -> str:
    """Return text that every database can store: NUL and lone surrogates are replaced."""
    return text.replace("\0", "�").encode("utf-8", "replace").decode()


def message_of(error: BaseException) -> str:
    """Return an exception's text, or its type if it has none or its ``__str__`` raises."""
    try:
        return str(error) or type(error).__name__
    except Exception as broken:  # noqa: BLE001 - a user's own __str__
        return f"{type(error).__name__} (its text can't be had: {type(broken).__name__})"


def utf8_size(text: str) -> int:
    """Return a text's size in UTF-8 bytes; lone surrogates count, too."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
