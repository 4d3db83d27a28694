"""What a command says where the libraries that it needs aren't installed."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager


@contextmanager
def needs_extra(program: str, extra: str, libraries: Collection[str]) -> Iterator[None]:
    """End the process with 1 where one of these libraries is missing, and say what to install.

    Any other missing module is raised as it is: then the extra isn't what's wrong.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in libraries:
            raise
        print(
            f"{program}: {missing} isn't installed. The command needs the extra `{extra}`:"
            f" pip install 'server-jobs[{extra}]'",
            file=sys.stderr,
        )
        sys.exit(1)
