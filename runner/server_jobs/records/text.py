"""Text from users' code, made fit to be stored, logged and shown."""

from __future__ import annotations

import os
import re
import traceback
from itertools import takewhile
from pathlib import Path

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_ROOMS = Path(__file__).parents[1]
_STANDARD_LIBRARY = Path(traceback.__file__).parent
_MACHINERY = (
    *(f"{_ROOMS / room}{os.sep}" for room in ("cli", "definition", "execution", "launches")),
    *(f"{_STANDARD_LIBRARY / name}{os.sep}" for name in ("asyncio", "concurrent", "importlib")),
    "<frozen importlib",
)
"""How the files begin through which a user's code is called or imported."""

_OF_A_USERS_CLASS = (
    Exception,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
)
"""What a method of a user's exception may raise. A platform's own exception isn't among them."""


def clean(text: str) -> str:
    """Return text that every database can store: NUL and lone surrogates are replaced."""
    return text.replace("\0", "�").encode("utf-8", "replace").decode()


def message_of(error: BaseException) -> str:
    """Return an exception's text, or its type if it has none or its ``__str__`` raises."""
    try:
        return str(error) or type(error).__name__
    except _OF_A_USERS_CLASS as broken:
        return f"{type(error).__name__} (its text can't be had: {type(broken).__name__})"


def traceback_of(error: BaseException) -> str:
    """Return an exception's traceback, those of its causes included, as Python prints them.

    Each begins in the user's code: the frames of ours and of asyncio's that led there are left out.
    Local variables are never shown. Of an exception that can't be described, by its notes or its
    causes for instance, it is the frames, the type and the message.
    """
    try:
        shown = traceback.TracebackException.from_exception(error, compact=True)
        chain: list[traceback.TracebackException | None] = [shown]
        while chain:
            link = chain.pop()
            if link is not None:
                _begin_in_users_code(link.stack)
                chain += [link.__cause__, link.__context__, *(link.exceptions or ())]
        return "".join(shown.format())
    except _OF_A_USERS_CLASS as broken:
        stack = traceback.extract_tb(error.__traceback__)
        _begin_in_users_code(stack)
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(stack)]
        lines += [f"{type(error).__name__}: {message_of(error)}\n"]
        return "".join([*lines, f"(the rest can't be had: {type(broken).__name__})\n"])


def _begin_in_users_code(stack: traceback.StackSummary) -> None:
    leading = takewhile(lambda frame: frame.filename.startswith(_MACHINERY), stack)
    del stack[: len(list(leading))]


def without_controls(text: str) -> str:
    """Return text that can be shown on a terminal: it has no codes that a terminal obeys."""
    return _CONTROLS.sub("�", text)


def utf8_size(text: str) -> int:
    """Return a text's size in UTF-8 bytes; lone surrogates count, too."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
