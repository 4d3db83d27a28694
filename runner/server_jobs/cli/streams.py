"""The standard streams of a command, fit for whatever they lead to.

A stream may be closed, its terminal may have no letters but ASCII's, its disk may be full, and
who reads it may have gone.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TextIO

FAILED = 1
READER_GONE = 141
"""The status that a shell reports of programs that SIGPIPE ended: what ``| head`` does to all."""

_ERRORS = "server_jobs.readable"
_STAND_INS = {"…": "...", "→": "->", "–": "-", "—": "-", "━": "-", "─": "-"}
"""What stands for our own signs where a stream's encoding hasn't got them."""


class OutputLostError(Exception):
    """What was written to stdout went nowhere. The cause is the OSError."""


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make the streams fit. Within it, stdout that can't be written to ends the process.

    Where nobody reads it any more, that happens without a word, as it does to other programs.
    """
    _replace_streams()
    stdout = sys.stdout  # a job's handler may take it away, or close it
    try:
        try:
            yield
        finally:
            if not stdout.closed:
                stdout.flush()
    except OutputLostError as lost:
        # The interpreter would write what is left once more, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        if isinstance(lost.__cause__, BrokenPipeError):
            sys.exit(READER_GONE)
        print(
            f"Error: the output is lost or cut off, because stdout can't be written to: {lost}."
            " A change that was asked for has been made all the same.",
            file=sys.stderr,
        )
        sys.exit(FAILED)


def spelled(text: str) -> str:
    """Return the text with the characters that stdout has: what is measured is what is shown."""
    if text.isascii():
        return text
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, _ERRORS).decode(encoding)


def _replace_streams() -> None:
    modes: dict[str, Literal["r", "w"]] = {"stdin": "r", "stdout": "w", "stderr": "w"}
    for name, mode in modes.items():
        if getattr(sys, name) is None:
            # It was closed. Whatever is opened first would get its number, a database for
            # instance, and would be written into by whoever writes to that number.
            _set(name, open(os.devnull, mode))  # noqa: SIM115 - it stays open to the end
    for name in ("COLUMNS", "LINES"):
        # rich takes them as they are, were they 0 or no number.
        if not re.fullmatch(r"[1-9][0-9]{0,4}", os.environ.get(name, "")):
            os.environ.pop(name, None)
    _set("stdout", _Results(sys.stdout))
    _set("stderr", _Remarks(sys.stderr))


def _set(name: str, stream: TextIO) -> None:
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)


class _Stream(io.TextIOWrapper):
    """A stream that has a sign for every character."""

    def __init__(self, stream: TextIO) -> None:
        encoding, by_line = stream.encoding, getattr(stream, "line_buffering", False)
        # Detached, it doesn't close the file when it is collected.
        super().__init__(
            stream.detach(),  # type: ignore[attr-defined]
            encoding=encoding,
            errors=_ERRORS,
            line_buffering=by_line,
        )


class _Results(_Stream):
    """Raises OutputLostError, which no library takes for an error of its own."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputLostError(error.strerror) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputLostError(error.strerror) from error


class _Remarks(_Stream):
    """Loses what can't be written: there is nobody left to tell, and the work goes on."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            return


def _readable(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding hasn't got: our own signs by others, the rest by its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # Hardly any stream needs it, and every command makes its streams first.
    from server_jobs.records.text import escaped

    missing = error.object[error.start : error.end]
    return "".join(_STAND_INS.get(sign) or escaped(sign) for sign in missing), error.end


codecs.register_error(_ERRORS, _readable)
