"""Masks passwords in text that people will see, whoever wrote it."""

from __future__ import annotations

import re

SECRET_NAMES = re.compile("password|token|secret", re.IGNORECASE)
"""The parameters whose values are never shown have one of these in their names."""

# Other people's text may be long, so each pattern takes time in proportion to it: what is repeated
# can't reach the beginning of the next match, or has a length.
_URL = re.compile(r"""\b((?!https?:)[a-z][a-z0-9+.-]{0,30}://[^\s/:@"']*):([^\s"']*)""", re.I)
"""A database URL. Web addresses are left to the next pattern: one may have a port and, later, an @.
"""

_MASKS = (
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
    text = _URL.sub(_without_password, text)
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def _without_password(url: re.Match[str]) -> str:
    _, found, rest = url[2].rpartition("@")  # a password may have an @ in it
    return f"{url[1]}:***@{rest}" if found else url[0]
