"""The disk that a SQLite file lies on is full for a while, again and again."""

import resource
import sys
from pathlib import Path

import pytest

from tests.support.drills.drill import WORKERS, Drill

# Less than the database's file and its log grow to, more than the processes' own records do.
ROOM_BYTES = 1024 * 1024

# Workers wait longer after each refusal: were it for ever full again, they would hardly work.
TIMES = 3


async def test_jobs_outlive_a_disk_without_room_for_another_page(
    sqlite_url: str, tmp_path: Path, seed: int
) -> None:
    drill = Drill(tmp_path, sqlite_url, seed)
    await drill.enqueue()
    full = tmp_path / "full"
    entry = ["-m", "tests.support.processes.worker_on_full_disk", str(full)]
    times = 0

    with drill.workers(entries=(entry,) * WORKERS) as workers:
        await drill.all_are_at_work()
        while await drill.goes_on(drill.rng.uniform(1.0, 2.0)):
            if times == TIMES:
                continue
            full.touch()
            await drill.goes_on(drill.rng.uniform(0.5, 3.0))
            full.unlink()
            times += 1

    drill.judge()
    assert times == TIMES, drill.explain("the jobs ended before the disk was full that often")
    assert workers.logged("database or disk is full"), drill.explain("nobody noticed")
    assert not workers.ended, drill.explain("workers ended instead of waiting")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no prlimit")
async def test_jobs_outlive_a_system_that_refuses_to_write(
    sqlite_url: str, tmp_path: Path, seed: int
) -> None:
    """The kernel refuses, so that commits and checkpoints fail, not statements."""
    drill = Drill(tmp_path, sqlite_url, seed)
    await drill.enqueue()
    times = 0

    with drill.workers() as workers:
        await drill.all_are_at_work()
        while await drill.goes_on(drill.rng.uniform(1.0, 2.0)):
            if times == TIMES:
                continue
            _allow(workers.pids, ROOM_BYTES)
            await drill.goes_on(drill.rng.uniform(0.5, 3.0))
            _allow(workers.pids, resource.RLIM_INFINITY)
            times += 1

    drill.judge()
    assert times == TIMES, drill.explain("the jobs ended before writes were refused that often")
    assert workers.logged("disk I/O error"), drill.explain("nobody noticed")
    assert not workers.ended, drill.explain("workers ended instead of waiting")


def _allow(pids: list[int], size: int) -> None:
    """Let no file of these processes be written beyond that size."""
    for pid in pids:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
