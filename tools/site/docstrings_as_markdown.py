"""The little reStructuredText of our docstrings, as Markdown."""

import re

_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`~?([^`]+)`")
_ALONE = re.compile(r"^ *::\n\n", re.MULTILINE)
_AT_THE_END = re.compile(r"::$", re.MULTILINE)


def markdown(docstring: str) -> str:
    """The docstring without roles and double colons."""
    text = _ROLE.sub(r"`\1`", docstring)
    return _AT_THE_END.sub(":", _ALONE.sub("", text))
