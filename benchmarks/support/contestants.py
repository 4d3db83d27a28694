"""Manages the processes that are measured, in turn or together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Span:
    """Counts the jobs between two moments of the monotonic clock, which all processes share."""

    count: int
    began: float
    ended: float

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.count / (self.ended - self.began)


class Contestant:
    """Controls a process that carries out orders (see :mod:`benchmarks.support.child`)."""

    def __init__(self, function: str, **arguments: Any) -> None:
        self._function = function
        self._errors = TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        command = [sys.executable, "-m", "benchmarks.support.child"]
        self._process = subprocess.Popen(
            [*command, function, json.dumps(arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def order(self, order: object = None) -> None:
        """Send an order, without waiting for its end."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Wait until the order is done → its answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._function} ended with this:\n{self._said()}")
        return json.loads(line)

    def run(self, order: object = None) -> Any:
        """Send an order, and wait for its answer."""
        self.order(order)
        return self.answer()

    def span(self, order: object = None) -> Span:
        """Send an order whose answer is a span, and wait for it."""
        return Span(*self.run(order))

    def end(self) -> None:
        """Ask the process to end, and wait until it has."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip() or "(nothing)"


@contextmanager
def ready(*functions: str, **arguments: Any) -> Iterator[list[Contestant]]:
    """Start a contestant for each function, with these arguments, and wait until all are ready."""
    with ExitStack() as stack:
        contestants = []
        for function in functions:
            contestants.append(Contestant(function, **arguments))
            stack.callback(contestants[-1].end)
        for contestant in contestants:
            contestant.answer()
        yield contestants


def together(contestants: Sequence[Contestant], order: object) -> Span:
    """Let all begin at once → the span from the first one's beginning to the last one's end."""
    for contestant in contestants:
        contestant.order(order)
    spans = [Span(*contestant.answer()) for contestant in contestants]
    return Span(
        count=sum(span.count for span in spans),
        began=min(span.began for span in spans),
        ended=max(span.ended for span in spans),
    )
