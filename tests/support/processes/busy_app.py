"""Jobs that keep the main thread in C, so that no step of Python comes in between.

They say by a file that they have begun, since nothing else of their process might.
"""

import ctypes
import os
import re
from pathlib import Path

from server_jobs import create_job_registry, define_job

FOLDER_SETTING = "TEST_BUSY_APP_FOLDER"

registry = create_job_registry("busy")


def has_begun(folder: Path) -> bool:
    return (folder / "busy").exists()


def _begin() -> None:
    (Path(os.environ[FOLDER_SETTING]) / "busy").touch()


@define_job(name="library")
async def library(params: None) -> None:
    """A library that waits for ever and lets other threads run, and that no signal interrupts."""
    mutex = ctypes.create_string_buffer(64)
    _begin()
    for _ in range(2):  # a thread that locks it twice waits for itself
        ctypes.CDLL(None).pthread_mutex_lock(mutex)


@define_job(name="expression")
async def expression(params: None) -> None:
    """A regular expression that never ends: no other thread runs, but it looks for signals."""
    _begin()
    re.match(r"(a+)+$", "a" * 64 + "b")


for job in (library, expression):
    registry.register(job)

APP = f"{__name__}:registry"
