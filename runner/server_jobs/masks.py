"""Masks passwords in text that people will see, whoever wrote it."""

from __future__ import annotations

import re

SECRET_NAMES = re.compile("password|token|secret", re.IGNORECASE)
"""The parameters whose values are never shown have one of these in their names."""

_MASKS = (
    # Web addresses are left to the next one: one may have a port and, later, an @.
    (re.compile(r"""\b((?!https?:)[a-z][a-z0-9+.-]*://[^\s/:@"']*):[^\s"']*@""", re.I), r"\1:***@"),
    (re.compile(r"""\b(https?://[^\s/:@"']*):[^\s/@"']*@""", re.I), r"\1:***@"),
    # A password with blanks or quotes in it, which isn't a port and what follows the URL.
    (
        re.compile(r"""\b(postgres\w*(?:\+\w+)?://[^\s/:@"']*):(?!\d+["'\s,])[^/\n@]*@""", re.I),
        r"\1:***@",
    ),
    (re.compile(r"""([?&]\w*(?:password|token|secret)=)[^\s&"']*""", re.I), r"\1***"),
    # libpq's other form: host=… password='…'
    (re.compile(r"""\b((?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&"']+)""", re.I), r"\1***"),
)


def mask_passwords(text: str) -> str:
    """Return the text with the passwords and tokens of database URLs replaced by asterisks."""
    if "://" not in text and "password" not in text.lower():
        return text
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text
