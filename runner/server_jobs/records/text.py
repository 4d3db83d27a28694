"""Text from users' code, made fit to be stored, logged and shown."""

from __future__ import annotations

import os
import re
import traceback
from itertools import takewhile
from pathlib import Path

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_LONGEST_SHOWN = 60

_ROOMS = Path(__file__).parents[1]
_STANDARD_LIBRARY = Path(traceback.__file__).parent
_MACHINERY = (
    *(f"{_ROOMS / room}{os.sep}" for room in ("cli", "definition", "execution", "launches")),
    *(f"{_STANDARD_LIBRARY / name}{os.sep}" for name in ("asyncio", "concurrent", "importlib")),
    "<frozen importlib",
)
"""How the files begin through which a user's code is called or imported."""


def clean(text: str) -> str:
    """Return text that every database can store: NUL and lone surrogates are replaced."""
    return text.replace("\0", "�").encode("utf-8", "replace").decode()


def message_of(error: BaseException) -> str:
    """Return an exception's text, or its type if it has none or its ``__str__`` raises."""
    try:
        return str(error) or type(error).__name__
    except Exception as broken:  # noqa: BLE001 - a user's own __str__
        return f"{type(error).__name__} (its text can't be had: {type(broken).__name__})"


def traceback_of(error: BaseException) -> str:
    """Return an exception's traceback, those of its causes included, as Python prints them.

    Each begins in the user's code: the frames of ours and of asyncio's that led there are left out.
    Local variables are never shown.
    """
    shown = traceback.TracebackException.from_exception(error, compact=True)
    chain: list[traceback.TracebackException | None] = [shown]
    while chain:
        link = chain.pop()
        if link is not None:
            leading = takewhile(lambda frame: frame.filename.startswith(_MACHINERY), link.stack)
            del link.stack[: len(list(leading))]
            chain += [link.__cause__, link.__context__, *(link.exceptions or ())]
    return "".join(shown.format())


def without_controls(text: str) -> str:
    """Return text that can be shown on a terminal: it has no codes that a terminal obeys."""
    return _CONTROLS.sub("�", text)


def shown(value: object) -> str:
    """Return a value of a row as it is told to people: on one line, at most 60 characters."""
    try:
        text = value if type(value) is str and value.isprintable() else repr(value)
    except ValueError:  # an integer of thousands of digits
        text = f"a {type(value).__name__} that is too large to be shown"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def utf8_size(text: str) -> int:
    """Return a text's size in UTF-8 bytes; lone surrogates count, too."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
