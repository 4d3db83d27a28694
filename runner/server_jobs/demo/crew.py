"""Starts the worker processes, and replaces those that die, as a supervisor does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from server_jobs.database import DATABASE_URL_VARIABLE
from server_jobs.errors import ServerJobsError

CONCURRENCY = 8
LEASE_SECONDS = 3
"""It is short so that the rescue comes soon. In production it is minutes."""

_STOP_SECONDS = 30.0
_HURRY_SECONDS = 5.0
_REPLACEMENTS = 3
_SHOWN_LOG = 2_000


@dataclass
class Worker:
    """Describes one process that runs ``server-jobs worker``."""

    number: int
    process: subprocess.Popen[bytes]
    log: Path
    was_killed: bool = False

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.pid})"

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def is_called(self, worker_id: str | None) -> bool:
        """Tell whether a row's ``worker_id`` (``local/host/pid/…``) is this worker's."""
        return worker_id is not None and f"/{self.pid}/" in worker_id


class Crew:
    """Runs ``size`` workers on one queue. Leaving the context ends all of them."""

    def __init__(self, url: str, queue: str, logs: Path, *, size: int = 2) -> None:
        self.workers: list[Worker] = []
        self._url = url
        self._queue = queue
        self._logs = logs
        self._size = size

    async def __aenter__(self) -> Crew:
        for _ in range(self._size):
            self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.stop(_STOP_SECONDS if kind is None else _HURRY_SECONDS)
        finally:
            for worker in self._alive():
                worker.process.kill()
                worker.process.wait()

    def kill(self, worker: Worker) -> None:
        """Kill a worker by SIGKILL, so that it can't release its jobs."""
        worker.was_killed = True
        worker.process.kill()
        worker.process.wait()

    def replace_dead(self) -> Sequence[Worker]:
        """Start as many workers as are missing, as systemd or Docker would → the new ones.

        Raises ServerJobsError if too many have died.
        """
        missing = self._size - len(self._alive())
        if missing and len(self.workers) >= self._size + _REPLACEMENTS:
            dead = next(w for w in reversed(self.workers) if not w.alive)
            raise ServerJobsError(f"workers keep dying; {dead} left this:\n{_end_of(dead.log)}")
        return [self._start() for _ in range(missing)]

    async def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Ask all workers to stop (SIGTERM), and wait for their end, at most so many seconds."""
        for worker in self._alive():
            worker.process.terminate()
        deadline = time.monotonic() + seconds
        while self._alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.05)

    def _alive(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.alive]

    def _start(self) -> Worker:
        number = len(self.workers) + 1
        log = self._logs / f"worker-{number}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own command
                self._command(),
                # Not an argument, since every user can read those, and a URL may hold a password.
                env=os.environ | {DATABASE_URL_VARIABLE: self._url},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        worker = Worker(number, process, log)
        self.workers.append(worker)
        return worker

    def _command(self) -> list[str]:
        # fmt: off
        return [
            # The standard library's test data makes the parser warn.
            sys.executable, "-W", "ignore", "-m", "server_jobs.cli", "worker",
            "--app", "server_jobs.demo.jobs:registry",
            "--queue", self._queue,
            "--concurrency", str(CONCURRENCY),
            "--lease", str(LEASE_SECONDS),
            "--grace", "1",
        ]
        # fmt: on


def _end_of(log: Path) -> str:
    with contextlib.suppress(OSError):
        return log.read_text(errors="replace")[-_SHOWN_LOG:].strip() or "(nothing)"
    return "(nothing)"
