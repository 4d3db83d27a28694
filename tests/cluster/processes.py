"""The cluster's processes: started in sessions of their own, noted in a file, found again by it."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.cluster.layout import Layout


class ClusterFailed(Exception):
    """A part of the cluster could not be made or started."""


class Processes:
    """What runs for one cluster. A process is known by its id and its start, as ids are reused."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._note = layout.folder / "processes.json"
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def noted(self) -> dict[str, int]:
        """The ids of the processes that were started and still run, the newest last."""
        if not self._note.exists():
            return {}
        noted: dict[str, list[int]] = json.loads(self._note.read_text())
        return {name: pid for name, (pid, start) in noted.items() if _start_of(pid) == start}

    def start(self, name: str, command: Sequence[str | Path]) -> None:
        log = self._layout.log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children[name] = child
        running = {**self.noted(), name: child.pid}
        self._note.write_text(json.dumps({n: [pid, _start_of(pid)] for n, pid in running.items()}))

    def wait_until(self, ready: Callable[[], bool], name: str, seconds: float = 90) -> None:
        """Wait for what the process ``name`` makes true; show its log where it does not come."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self._children[name].poll() is not None:
                raise ClusterFailed(f"{name} ended:\n{self._last_lines(name)}")
            if time.monotonic() > deadline:
                raise ClusterFailed(f"{name} is not ready:\n{self._last_lines(name)}")
            time.sleep(0.1)

    def stop(self, name: str, grace_seconds: float = 0) -> None:
        pid = self.noted().get(name)
        if pid is None:
            return
        if grace_seconds:
            _send(pid, signal.SIGTERM)
            if self._gone(name, grace_seconds):
                return
        _send(pid, signal.SIGKILL)
        self._gone(name, 10)

    def send(self, name: str, number: signal.Signals) -> None:
        running = self.noted()
        if name not in running:
            raise ClusterFailed(f"No {name} runs. There are: {', '.join(running) or 'none'}")
        _send(running[name], number)

    def _gone(self, name: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while name in self.noted():
            if child := self._children.get(name):
                child.poll()  # reaps it where it is ours
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _last_lines(self, name: str) -> str:
        return "\n".join(self._layout.log(name).read_text(errors="replace").splitlines()[-15:])


def _start_of(pid: int) -> int | None:
    """When the process started, in the kernel's ticks; nothing if there is none, or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the program's name before it may hold anything
    return None if fields[0] == "Z" else int(fields[19])


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
