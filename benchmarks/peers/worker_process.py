"""One worker of a system, in a process of its own, and what its handlers tell of."""

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
    """What it says is one line a call of ``read``."""

    def __init__(
        self, process: subprocess.Popen[bytes], pipe: int, log: IO[bytes], worker: Worker
    ) -> None:
        self._process = process
        self._pipe = pipe
        self._log = log
        self._worker = worker
        self._buffer = b""

    def read(self, patience: float = PATIENCE_SECONDS) -> str:
        """The next line. Raises RuntimeError where none comes."""
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
        """Ask it to end, and see to it that it does."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextmanager
def working(worker: Worker, url: str, jobs: int = 0) -> Iterator[WorkerProcess]:
    """A worker that is told how many jobs there are to drain, if there are."""
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
