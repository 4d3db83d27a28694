"""Tidies the environment before a command reads its settings there.

It is the first thing that every command does, so that it imports nothing that takes time.
"""

from __future__ import annotations

import os

_PREFIXES = ("SERVER_JOBS_", "TURSO_")


def tidy_environment() -> None:
    """Take what doesn't belong to them off our variables; those that are left empty are unset.

    Secrets that were made of a file end with a line break, and files of variables have quotes
    that not every reader takes off.
    """
    for name in [name for name in os.environ if name.startswith(_PREFIXES)]:
        os.environ[name] = bare(os.environ[name])
        if not os.environ[name]:
            del os.environ[name]


def bare(text: str) -> str:
    """Return the text without blanks around it, and without the quotes around that."""
    text = text.strip()
    for quote in "\"'":
        if len(text) > 1 and text[0] == text[-1] == quote and quote not in text[1:-1]:
            return text[1:-1].strip()
    return text
