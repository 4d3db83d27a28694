"""Shows the progress of the benchmarks on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Steps:
    """Draws a bar on a terminal; elsewhere it prints one line for each stage.

    It is drawn only between two measurements, never during one.
    """

    def __init__(self) -> None:
        console = Console(stderr=True, highlight=False)
        self._live = console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None)
        self._stage = ""
        self._began = time.monotonic()

    def __enter__(self) -> Steps:
        if self._live:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._bar.stop()

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of ``total`` steps."""
        self._stage = name
        self._bar.reset(self._task, total=total, description=name)
        if self._live:
            self._bar.refresh()
        else:
            print(f"{time.monotonic() - self._began:5.0f} s  {name}", file=sys.stderr)

    def next(self, what: str = "") -> None:
        """Begin the next step."""
        self._bar.update(
            self._task, advance=1, description=f"{self._stage}: {what}" if what else self._stage
        )
        if self._live:
            self._bar.refresh()
