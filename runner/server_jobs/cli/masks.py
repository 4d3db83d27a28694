"""Masks passwords in everything that is printed."""

from __future__ import annotations

import re

# Web addresses are left alone: one may have a port and, later, an @. Databases use other schemes.
_URL_PASSWORD = re.compile(r"""\b(?!https?:)([a-z][a-z0-9+.-]*://[^\s/:@"']*):[^\s"']*@""", re.I)
_QUERY_PASSWORD = re.compile(r"""([?&]\w*(?:password|token)=)[^\s&"']*""", re.I)


def mask_passwords(text: str) -> str:
    """Return the text with passwords in database URLs replaced by asterisks."""
    if "://" not in text:
        return text
    return _QUERY_PASSWORD.sub(r"\1***", _URL_PASSWORD.sub(r"\1:***@", text))
