"""Worker processes, started with the command as a user would."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes.app import FOLDER_SETTING
from tests.support.workers import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[3]
APP = "tests.support.processes.app:registry"


class WorkerProcess:
    """A running ``server-jobs worker``, by default for ``tests.support.processes.app``."""

    def __init__(self, folder: Path, database_url: str, *options: str, app: str = APP) -> None:
        self._log = folder / f"worker-{len(list(folder.glob('worker-*.log')))}.log"
        command = [sys.executable, "-m", "server_jobs.cli", "worker"]
        command += ["--app", app, "--database", database_url]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *options],
                cwd=ROOT,
                env=os.environ | {FOLDER_SETTING: str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it has printed."""
        return self._log.read_text()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end → the exit status."""
        return self._process.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        """Whatever state it is in, it is gone after this."""
        if self._process.poll() is None:
            self._process.kill()  # ends a stopped process too
            self._process.wait()


@contextmanager
def worker_process(
    folder: Path, database_url: str, *options: str, app: str = APP
) -> Iterator[WorkerProcess]:
    process = WorkerProcess(folder, database_url, *options, app=app)
    try:
        yield process
    finally:
        process.end()
