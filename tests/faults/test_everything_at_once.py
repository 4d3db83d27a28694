"""Rows are locked in one order everywhere: what meets on them waits in turn, never in a circle.

``FAULTS_SECONDS=600 make test-faults ARGS="-k at_once"`` lets it go on for ten minutes.
"""

import os

import pytest

from tests.support.drills.together import Together

SECONDS = float(os.environ.get("FAULTS_SECONDS") or 20)


@pytest.mark.timeout(SECONDS + 120)
async def test_nothing_that_writes_at_once_ends_in_a_deadlock(postgres_url: str, seed: int) -> None:
    together = Together(postgres_url, seed)

    await together.run(SECONDS)

    said = f"FAULTS_SEED={seed}; {dict(together.done)}, {len(together.accepted)} settled"
    assert together.wrong() == [], said
    assert together.deadlocks() == 0, said
    assert min(together.done.values()) > SECONDS, f"too little was done: {said}"
    print(said)
