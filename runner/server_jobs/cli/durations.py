"""Spans of time as people type them."""

from __future__ import annotations

import re

import typer

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PART = re.compile(rf"({_NUMBER})([{''.join(_UNITS)}])")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")

FOREVER = "forever"


def seconds_of(text: str, option: str) -> float:
    """The seconds in ``90``, ``90s``, ``15m``, ``2h``, ``7d``, ``2w`` or ``1h30m``.

    Raises BadParameter, which names the option.
    """
    return _seconds(text, option, "90s, 15m, 2h, 7d, 1h30m, or a number of seconds")


def seconds_or_forever(text: str, option: str) -> float | None:
    """The same, and None for ``forever``. Raises BadParameter."""
    if text.strip().lower() == FOREVER:
        return None
    return _seconds(text, option, f"90s, 15m, 2h, 7d, a number of seconds, or {FOREVER}")


def _seconds(text: str, option: str, expected: str) -> float:
    value = text.strip().lower()
    if re.fullmatch(_NUMBER, value):
        return float(value)
    if not _WHOLE.fullmatch(value):
        raise typer.BadParameter(
            f"{text!r} is no duration: write {expected}.", param_hint=f"'{option}'"
        )
    return float(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value)))
