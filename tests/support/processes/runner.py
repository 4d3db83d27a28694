"""Runner processes, started with the command as a pod would."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server_jobs.records.rows import Claim
from tests.support.processes.app import FOLDER_SETTING
from tests.support.processes.worker import APP, ROOT, WorkerProcess


class RunnerProcess(WorkerProcess):
    """A ``server-jobs run`` for one lease."""

    def __init__(
        self, folder: Path, database_url: str, claim: Claim, *options: str, app: str = APP
    ) -> None:
        self._log = folder / f"runner-{len(list(folder.glob('runner-*.log')))}.log"
        command = [sys.executable, "-m", "server_jobs.cli", "run", "--app", app]
        command += ["--job-id", claim.job_id, "--fence", str(claim.fence), *options]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ
                | {FOLDER_SETTING: str(folder), "SERVER_JOBS_DATABASE_URL": database_url},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


@contextmanager
def runner_process(
    folder: Path, database_url: str, claim: Claim, *options: str, app: str = APP
) -> Iterator[RunnerProcess]:
    process = RunnerProcess(folder, database_url, claim, *options, app=app)
    try:
        yield process
    finally:
        process.end()
