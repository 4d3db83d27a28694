"""Durations as people type and read them: ``90s``, ``15m``, ``2h``, ``7d``, ``1h30m``."""

from __future__ import annotations

import itertools
import re

import typer

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PART = re.compile(rf"({_NUMBER})([{''.join(_UNITS)}])")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_LONGEST = 100 * 365 * 86_400
_WORDS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_FORMS = "90s, 15m, 2h, 7d, 1h30m, or a number of seconds"

FOREVER = "forever"


def seconds_of(text: str, option: str) -> float:
    """The seconds in a duration. Raises BadParameter, which names the option."""
    return _seconds(text, option, _FORMS)


def seconds_or_forever(text: str, option: str) -> float | None:
    """The same, and None for ``forever``. Raises BadParameter."""
    if text.strip().lower() == FOREVER:
        return None
    return _seconds(text, option, f"90s, 15m, 2h, 7d, a number of seconds, or {FOREVER}")


def in_words(seconds: float) -> str:
    """A measured span in its two largest units: ``0.012 s``, ``4.2 s``, ``2 h 5 min``."""
    if seconds < 60:
        digits = 3 if seconds < 1 else 1
        # So that what isn't quite a minute isn't called 60 s.
        return f"{min(seconds, 59.9):.{digits}f}".rstrip("0").rstrip(".") + " s"
    whole = int(seconds)
    for (size, unit), (smaller, name) in itertools.pairwise(_WORDS):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    raise AssertionError("unreachable")


def _seconds(text: str, option: str, expected: str) -> float:
    hint = f"'{option}'"
    value = text.strip().lower()
    if re.fullmatch(_NUMBER, value):
        seconds = float(value)
    elif _WHOLE.fullmatch(value):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    else:
        raise typer.BadParameter(f"{text!r} is no duration: write {expected}.", param_hint=hint)
    if seconds > _LONGEST:
        raise typer.BadParameter(f"{text!r} is more than 100 years.", param_hint=hint)
    return seconds


def as_typed(seconds: float) -> str:
    """The span as it would be typed, exactly: ``7d``, ``1h30m``, ``0.5s``."""
    parts = []
    for unit in "dhm":
        count, seconds = divmod(seconds, _UNITS[unit])
        parts += [f"{count:.0f}{unit}"] if count else []
    if seconds or not parts:
        parts.append(f"{seconds:.6f}".rstrip("0").rstrip(".") + "s")
    return "".join(parts)
