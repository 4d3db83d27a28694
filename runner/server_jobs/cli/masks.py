"""Keeping passwords out of whatever is printed."""

from __future__ import annotations

import re

# A web address with a port and, later, an @ isn't one: only other schemes carry passwords here.
_URL_PASSWORD = re.compile(r"""\b(?!https?:)([a-z][a-z0-9+.-]*://[^\s/:@"']*):[^\s"']*@""", re.I)
_QUERY_PASSWORD = re.compile(r"""([?&]\w*(?:password|token)=)[^\s&"']*""", re.I)


def mask_passwords(text: str) -> str:
    """The text with the passwords of database URLs in it replaced."""
    if "://" not in text:
        return text
    return _QUERY_PASSWORD.sub(r"\1***", _URL_PASSWORD.sub(r"\1:***@", text))
