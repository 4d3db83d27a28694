"""A program that used ``run_sync`` ends when it is done."""

import subprocess
import sys

USES_A_THREAD_OF_THE_LOOP = """
import asyncio
from server_jobs import run_sync

print(run_sync(asyncio.to_thread(lambda: "done")))
"""


def test_program_ends_although_its_loop_has_threads_of_its_own() -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", USES_A_THREAD_OF_THE_LOOP],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")
