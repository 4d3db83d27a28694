"""Two replicas of the operator: one leads, and when it goes the other one does."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_jobs.store.store import Store
from tests.e2e.app.jobs import double, sleep
from tests.e2e.support.completions import Completions, all_completed_once
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.operator_process import OperatorProcess
from tests.e2e.support.waiting import begun, record_when, until

pytestmark = pytest.mark.timeout(300)

HAND_OVER_SECONDS = 12.0
"""Less than a Lease lasts that nobody lets go of."""


@pytest.fixture
def second(
    operator: OperatorProcess, namespace: Kubectl, server_url: str, tmp_path: Path
) -> Iterator[OperatorProcess]:
    """A replica that stands by."""
    (tmp_path / "second").mkdir()
    process = OperatorProcess(tmp_path / "second", namespace.namespace, server_url)
    with process.running():
        process.wait_until_ready()
        yield process


async def test_a_leader_that_is_told_to_end_hands_over_within_seconds(
    operator: OperatorProcess,
    second: OperatorProcess,
    namespace: Kubectl,
    store: Store,
    completions: Completions,
) -> None:
    assert (operator.figure("leader"), second.figure("leader")) == (1, 0)
    ids = await sleep.later_many([{"seconds": 1} for _ in range(10)])
    await record_when(store, ids[0], begun)

    ending = asyncio.create_task(asyncio.to_thread(operator.terminate))
    for n in range(10):
        ids.append(await double.later({"n": n}))
        await asyncio.sleep(0.1)
    await until(lambda: second.figure("leader") == 1, HAND_OVER_SECONDS)

    assert await ending == 0
    await all_completed_once(store, completions, namespace, ids)
    records = [await store.get(job_id) for job_id in ids]
    assert {(record.fence, record.attempt_count) for record in records} == {(1, 1)}


async def test_a_leader_that_is_killed_is_followed_by_the_other(
    operator: OperatorProcess,
    second: OperatorProcess,
    namespace: Kubectl,
    store: Store,
    completions: Completions,
) -> None:
    ids = await sleep.later_many([{"seconds": 1} for _ in range(10)])
    await record_when(store, ids[0], begun)

    operator.kill()
    ids += await double.later_many([{"n": n} for n in range(5)])

    await all_completed_once(store, completions, namespace, ids)
    assert second.figure("leader") == 1
