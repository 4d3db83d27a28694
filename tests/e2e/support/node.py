"""What can be done to pods and servers only where the cluster runs on this very machine."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CLUSTER = "SERVER_JOBS_E2E_CLUSTER"
"""Folder and port of a cluster of tests/cluster: FOLDER:PORT."""

AUDIT_LOG = "SERVER_JOBS_E2E_AUDIT_LOG"
"""Where the API server of that cluster writes down who asked what."""

# Read now: within a test, the product's variables are out of sight.
_where = os.environ.get(CLUSTER, "")
_audit_log = os.environ.get(AUDIT_LOG, "")


def require_own_cluster() -> None:
    if not _where:
        pytest.skip(f"{CLUSTER} isn't set: this cluster's own processes can't be signalled")


def audited(user: str) -> list[dict[str, Any]]:
    """What a user asked of the API server, as its audit log has it."""
    if not _audit_log:
        pytest.skip(f"{AUDIT_LOG} isn't set: who asked what of this API server isn't known")
    with Path(_audit_log).open() as log:
        entries = [json.loads(line) for line in log]
    return [entry for entry in entries if entry["user"]["username"] == user]


def signal_cluster(process: str, name: str) -> None:
    """Signal a server of the cluster, for instance kube-apiserver."""
    folder, _, port = _where.rpartition(":")
    module = [sys.executable, "-m", "tests.cluster", "signal", "--folder", folder, "--port", port]
    subprocess.run([*module, process, name], check=True)


@contextlib.contextmanager
def stopped(process: str) -> Iterator[None]:
    """A server of the cluster that answers nobody."""
    signal_cluster(process, "STOP")
    try:
        yield
    finally:
        signal_cluster(process, "CONT")


def freeze_runner(job_id: str) -> list[int]:
    """Stop the process that executes a job → its ids; nothing but SIGKILL ends it then."""
    found = [pid for pid in _processes() if job_id in _arguments(pid)]
    assert found, f"no process of this machine executes job {job_id}"
    for pid in found:
        os.kill(pid, signal.SIGSTOP)
    return found


def thaw(processes: list[int]) -> None:
    """Let frozen ones go on where they were."""
    for pid in processes:
        os.kill(pid, signal.SIGCONT)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _arguments(pid: int) -> list[str]:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return line.decode(errors="replace").split("\0")
