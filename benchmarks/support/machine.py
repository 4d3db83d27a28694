"""Describes the machine, for which the absolute figures hold; ratios say more about others."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

# A commit to memory costs nothing, so every figure would be too good.
_IN_MEMORY = {"tmpfs", "ramfs"}


@dataclass(frozen=True)
class Machine:
    """Holds what matters for a queue's speed. ``sync_ms`` is the median of small synced writes."""

    cpu: str
    cores: int
    system: str
    file_system: str
    sync_ms: float
    python: str
    sqlite: str
    postgres: str | None

    @property
    def lines(self) -> list[str]:
        """The description, line by line, for people."""
        return [
            f"{self.cpu}, {self.cores} cores; {self.system}; {self.file_system}, where"
            f" fdatasync takes {self.sync_ms:.2f} ms",
            f"Python {self.python}; SQLite {self.sqlite}"
            + (f"; PostgreSQL {self.postgres} on the same machine" if self.postgres else ""),
        ]


def describe(folder: Path, postgres_url: str | None) -> Machine:
    """Describe this machine, with the disk that holds ``folder``."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()}",
        file_system=_file_system(folder) or "unknown file system",
        sync_ms=_sync_ms(folder),
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        postgres=None if postgres_url is None else _postgres(postgres_url),
    )


def disk_folder() -> Path:
    """Find a folder for temporary files that is on a disk."""
    candidates = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]
    for folder in candidates:
        if folder.is_dir() and _file_system(folder) not in _IN_MEMORY:
            return folder
    raise RuntimeError(
        "Temporary files are in memory here, where commits cost nothing: set TMPDIR to a folder"
        " on a disk."
    )


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str | None:
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return None
    found = ("", "")
    for line in mounts.read_text().splitlines():
        _, point, kind, *_ = line.split()
        if folder.resolve().is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1] or None


def _sync_ms(folder: Path, writes: int = 100) -> float:
    # macOS has no fdatasync; SQLite and PostgreSQL use fsync there as well.
    sync = getattr(os, "fdatasync", os.fsync)
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(writes):
            os.write(file.fileno(), b"x" * 4096)
            began = time.perf_counter()
            sync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def _postgres(url: str) -> str:
    with psycopg.connect(url) as connection:
        version: str = connection.execute("SHOW server_version").fetchall()[0][0]
    return version.split()[0]


def resident_megabytes(process_id: int) -> float:
    """Read the current memory of a process, by its resident set."""
    status = Path(f"/proc/{process_id}/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    shown = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process_id)], capture_output=True, text=True, check=True
    )
    return int(shown.stdout) * 1024 / 1e6
