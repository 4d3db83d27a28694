"""Worker processes under a supervisor: whichever ends, another one takes its place."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.drills.app import FOLDER_SETTING
from tests.support.processes.worker import ROOT


class Supervisor:
    """Workers of the drills' app. The entries take turns: what each place is started with."""

    def __init__(
        self, folder: Path, database_url: str, options: Sequence[str], entries: Sequence[list[str]]
    ) -> None:
        self._folder = folder
        self._arguments = ["worker", "--app", "tests.support.drills.app:registry"]
        self._arguments += ["--database", database_url, "--log-level", "warning", *options]
        self._entries = entries
        self._places: list[subprocess.Popen[bytes]] = []
        self._killed: set[int] = set()
        self.logs: list[Path] = []
        self._thaw_at: dict[int, float] = {}
        self.kills = 0
        self.freezes = 0
        self.ended: list[str] = []
        """Which ended of themselves: the log's name and the exit status."""
        for place in range(len(entries)):
            self._places.append(self._start(place))

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._places]

    def logged(self, text: str) -> bool:
        """Whether any of them has warned of this."""
        return any(text in log.read_text(errors="replace") for log in self.logs)

    def keep_up(self) -> None:
        """Replace those that have ended, and thaw those whose time has come."""
        for place, process in enumerate(self._places):
            if self._thaw_at.get(process.pid, math.inf) <= time.monotonic():
                del self._thaw_at[process.pid]
                process.send_signal(signal.SIGCONT)
            if process.poll() is None:
                continue
            if process.pid not in self._killed:
                self.ended.append(f"{process.pid} with status {process.returncode}")
            self._places[place] = self._start(place)

    def kill_one(self, rng: random.Random) -> None:
        """SIGKILL: it writes no last word."""
        process = rng.choice(self._places)
        if process.poll() is None:
            self._killed.add(process.pid)
            process.kill()
            process.wait()
            self.kills += 1

    def freeze_one(self, rng: random.Random, seconds: float) -> None:
        """SIGSTOP, and later SIGCONT: it goes on as if no time had passed."""
        process = rng.choice(self._places)
        if process.poll() is None and process.pid not in self._thaw_at:
            process.send_signal(signal.SIGSTOP)
            self._thaw_at[process.pid] = time.monotonic() + seconds
            self.freezes += 1

    def end(self) -> None:
        for process in self._places:
            process.kill()  # ends a frozen one too
            process.wait()

    def _start(self, place: int) -> subprocess.Popen[bytes]:
        path = self._folder / f"worker-{len(self.logs)}.log"
        self.logs.append(path)
        with path.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, *self._entries[place], *self._arguments],
                cwd=ROOT,
                env=os.environ | {FOLDER_SETTING: str(self._folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


AS_A_USER_WOULD = ["-m", "server_jobs.cli"]


@contextmanager
def supervised(
    folder: Path,
    database_url: str,
    *options: str,
    entries: Sequence[list[str]] = (AS_A_USER_WOULD,) * 3,
) -> Iterator[Supervisor]:
    supervisor = Supervisor(folder, database_url, options, entries)
    try:
        yield supervisor
    finally:
        supervisor.end()
