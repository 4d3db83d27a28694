"""What a worker holds doesn't grow with the jobs that it has done."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server_jobs.migrate import migrate
from tests.support.processes.leak_probe import JOBS_A_ROUND, ROUNDS, Holdings

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.timeout(400)
def test_a_worker_holds_no_more_after_100_000_jobs_than_after_the_first(
    database_url: str, record_property: Any
) -> None:
    migrate(database_url)

    seen = probe(database_url)

    record_property("holdings", [str(each) for each in seen])
    print(*seen, sep="\n")
    assert [each.jobs for each in seen] == [
        JOBS_A_ROUND * number for number in range(1, ROUNDS + 1)
    ]
    # The first round opens what stays: threads, connections, compiled statements, caches.
    first, last = seen[0], seen[-1]
    assert last.tasks <= first.tasks + 3
    assert last.threads <= first.threads + 15  # a pool that hadn't needed all of its threads yet
    assert last.files <= first.files + 15
    # One object for every forty jobs would show.
    assert last.objects < first.objects + 2_000
    assert last.blocks < first.blocks + 2_000
    # Memory comes in pages and is handed back in none: this is for what leaks outside of Python.
    assert last.resident_bytes < first.resident_bytes + 16 * 1024 * 1024


def probe(database_url: str) -> list[Holdings]:
    """What the process holds at the end of each round."""
    command = [sys.executable, "-m", "tests.support.processes.leak_probe", database_url]
    answer = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
    return [Holdings(**document) for document in json.loads(answer.stdout)]
