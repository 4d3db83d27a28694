"""What a launcher sees of its rows: claimed by one process, executed by another."""

import json

import pytest

from server_jobs import JobStatus
from server_jobs.database import Database
from server_jobs.launches.launch import Launch
from server_jobs.launches.store import LaunchStore
from server_jobs.records.attempt_error import OUT_OF_MEMORY, AttemptError
from server_jobs.records.backoff import launch_backoff
from server_jobs.records.outcomes import Completed, Failed
from server_jobs.records.requests import ClaimRequest
from server_jobs.records.rows import Claim
from tests.support.clock import Clock
from tests.support.scene import Scene, changes, new_job

RUNNER = "k8s/here/default/runner"


@pytest.fixture
def launches(database: Database, clock: Clock) -> LaunchStore:
    return LaunchStore(database, "k8s/here/", now=clock.expression)


async def claimed(launches: LaunchStore, worker_id: str = RUNNER) -> Launch:
    await launches.records.enqueue([new_job()])
    (launch,) = await launches.claim(
        "default", job_names=None, limit=1, worker_id=worker_id, lease_seconds=60
    )
    return launch


async def begun(launches: LaunchStore) -> Claim:
    launch = await claimed(launches)
    await launches.records.start(launch.claim, worker_id=f"{RUNNER}/pod", lease_seconds=60)
    return launch.claim


async def test_a_claim_takes_any_name_and_begins_no_handler(launches: LaunchStore) -> None:
    await launches.records.enqueue([new_job("One"), new_job("Two")])

    found = await launches.claim(
        "default", job_names=None, limit=10, worker_id=RUNNER, lease_seconds=60
    )

    assert sorted(launch.job_name for launch in found) == ["One", "Two"]
    assert not any(launch.begun for launch in found)
    assert {launch.status for launch in found} == {JobStatus.RUNNING}
    assert {(launch.fence, launch.attempt_count) for launch in found} == {(1, 1)}


async def test_a_claim_reads_no_params(launches: LaunchStore, scene: Scene) -> None:
    job_id = await scene.pending(params='{"secret": "x"}')
    request = ClaimRequest("default", None, 1, RUNNER, 60, starting=False)

    (job,) = await launches.records.claim(request)
    assert job.params == ""

    started = await launches.records.start(job.claim, worker_id=f"{RUNNER}/pod", lease_seconds=60)
    assert started is not None
    assert (started.id, json.loads(started.params)) == (job_id, {"secret": "x"})


async def test_a_claim_takes_the_names_that_are_given(launches: LaunchStore) -> None:
    await launches.records.enqueue([new_job("One"), new_job("Two")])

    found = await launches.claim(
        "default", job_names=["Two"], limit=10, worker_id=RUNNER, lease_seconds=60
    )

    assert [launch.job_name for launch in found] == ["Two"]


async def test_in_hand_is_what_runs_below_the_prefix_begun_or_not(launches: LaunchStore) -> None:
    started = await begun(launches)
    waiting = (await claimed(launches)).claim
    await claimed(launches, "k8s/heretoo/default/runner")
    await claimed(launches, "local/host/1")
    over = await begun(launches)
    await launches.records.settle({over: Completed("1")})

    found = await launches.in_hand()

    assert {launch.claim: launch.begun for launch in found.values()} == {
        started: True,
        waiting: False,
    }


async def test_wildcards_in_a_prefix_are_taken_literally(
    database: Database, launches: LaunchStore
) -> None:
    await claimed(launches)

    assert await LaunchStore(database, "k8s/%/").in_hand() == {}


async def test_renewing_changes_just_the_lease(scene: Scene, launches: LaunchStore) -> None:
    claim = (await claimed(launches)).claim
    before = await scene.get(claim.job_id)
    now = scene.clock.advance(20)

    assert await launches.renew([claim], lease_seconds=300) == {claim.job_id}

    assert changes(before, await scene.get(claim.job_id)) == {
        "worker_expires_at": scene.clock.after(300),
        "updated_at": now,
    }


async def test_what_has_begun_or_was_claimed_anew_is_not_renewed(
    scene: Scene, launches: LaunchStore
) -> None:
    started = await begun(launches)
    stale = Claim((await claimed(launches)).id, 0)
    before = [await scene.get(claim.job_id) for claim in (started, stale)]

    assert await launches.renew([started, stale], lease_seconds=300) == set()

    assert [await scene.get(claim.job_id) for claim in (started, stale)] == before


async def test_renewing_nothing_asks_nothing(launches: LaunchStore) -> None:
    assert await launches.renew([], lease_seconds=300) == set()
    assert await launches.read([]) == {}


async def test_cancelled_are_those_that_somebody_wants_cancelled(launches: LaunchStore) -> None:
    wanted = await begun(launches)
    await claimed(launches)
    await launches.records.cancel(wanted.job_id)

    assert set(await launches.cancelled()) == {wanted.job_id}


async def test_reading_tells_of_rows_in_any_state(launches: LaunchStore) -> None:
    over = await begun(launches)
    await launches.records.settle({over: Completed("1")})
    (waiting,) = await launches.records.enqueue([new_job()])

    found = await launches.read([over.job_id, waiting, "no such job"])

    assert {launch.id: launch.status for launch in found.values()} == {
        over.job_id: JobStatus.COMPLETED,
        waiting: JobStatus.PENDING,
    }


async def test_deaths_for_want_of_memory_are_counted(launches: LaunchStore) -> None:
    claim = await begun(launches)
    for kind in (OUT_OF_MEMORY, "exit_code", OUT_OF_MEMORY):
        error = AttemptError(1, None, kind, "boom", "", "w")
        await launches.records.settle({claim: Failed(error, permanent=True)})
        await launches.records.retry(claim.job_id)
        (launch,) = await launches.claim(
            "default", job_names=None, limit=1, worker_id=RUNNER, lease_seconds=60
        )
        claim = launch.claim
        await launches.records.start(claim, worker_id=f"{RUNNER}/pod", lease_seconds=60)

    assert (await launches.read([claim.job_id]))[claim.job_id].out_of_memory == 2


def test_launches_are_put_off_longer_and_longer_up_to_five_minutes() -> None:
    assert [launch_backoff(n) for n in (0, 1, 2, 5, 100)] == [10, 20, 40, 300, 300]
