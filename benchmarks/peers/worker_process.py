"""Runs one worker of a system in a process of its own, and reads what its handlers tell."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from benchmarks.peers.handlers import DATABASE_VARIABLE, JOBS_VARIABLE, PIPE_VARIABLE
from benchmarks.peers.system import Worker

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120.0
STOP_SECONDS = 10.0


class WorkerProcess:
    """Reads what a worker's handlers tell, line by line."""

    def __init__(
        self, process: subprocess.Popen[bytes], pipe: int, log: IO[bytes], worker: Worker
    ) -> None:
        self._process = process
        self._pipe = pipe
        self._log = log
        self._worker = worker
        self._buffer = b""

    def read(self, patience: float = PATIENCE_SECONDS) -> str:
        """Read the next line. Raises RuntimeError if none comes within ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                self.fail(f"said nothing for {patience:g} s")
            if select.select([self._pipe], [], [], min(left, 0.5))[0]:
                self._buffer += os.read(self._pipe, 65_536)
            elif self._process.poll() is not None:
                self.fail(f"ended with status {self._process.returncode}")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def fail(self, what: str) -> None:
        """Raise RuntimeError, with the worker's log."""
        self._log.seek(0)
        log = self._log.read().decode(errors="replace")[-4_000:]
        raise RuntimeError(f"{' '.join(self._worker.arguments)}: the worker {what}\n{log}")

    def stop(self) -> None:
        """Ask the process to end, and kill it if it doesn't."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextmanager
def working(worker: Worker, url: str, jobs: int = 0) -> Iterator[WorkerProcess]:
    """Start a worker, which is told how many jobs it has to drain, if any."""
    reading, writing = os.pipe()
    try:
        with tempfile.TemporaryFile() as log:
            environment = {
                DATABASE_VARIABLE: url,
                JOBS_VARIABLE: str(jobs),
                PIPE_VARIABLE: str(writing),
            }
            process = subprocess.Popen(
                worker.command,
                cwd=ROOT,
                env=os.environ | environment,
                pass_fds=[writing],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            working_one = WorkerProcess(process, reading, log, worker)
            try:
                yield working_one
            finally:
                working_one.stop()
    finally:
        os.close(reading)
        os.close(writing)
