"""Rescue: jobs whose lease expired are taken back, by their old fence."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from server_jobs.database import Database
from server_jobs.records.outcomes import MAX_LAUNCH_FAILURES, Completed, Released
from server_jobs.records.status import JobStatus
from server_jobs.store.store import Store
from tests.support.clock import Clock
from tests.support.databases.interrupted import InterruptedDatabase
from tests.support.databases.kinds import Place, each_shared_kind
from tests.support.scene import Scene, changes, new_job

AT_ONCE = '{"base_seconds": 0.0}'
IN_TEN_SECONDS = '{"base_seconds": 10.0, "jitter": false}'


async def test_started_job_uses_up_its_attempt(scene: Scene) -> None:
    claim = await scene.running(retry_policy=IN_TEN_SECONDS)
    before = await scene.get(claim.job_id)
    now = scene.clock.advance(60)

    rescued = await scene.store.rescue()

    assert rescued[claim.job_id].status is JobStatus.PENDING
    after = await scene.get(claim.job_id)
    (entry,) = after.attempt_errors
    assert changes(before, after) == {
        "status": JobStatus.PENDING,
        "scheduled_for": scene.clock.after(10),
        "worker_id": None,
        "worker_started_at": None,
        "worker_expires_at": None,
        "handler_started_at": None,
        "error": entry.message,
        "errors": after.errors,
        "updated_at": now,
    }
    assert (entry.attempt, entry.at, entry.type) == (1, now, "lease_expired")
    assert entry.worker == "worker"


async def test_unstarted_job_gets_its_attempt_back_and_is_charged_a_launch(scene: Scene) -> None:
    claim = await scene.running(starting=False, retry_policy=IN_TEN_SECONDS)
    before = await scene.get(claim.job_id)
    now = scene.clock.advance(60)

    await scene.store.rescue()

    after = await scene.get(claim.job_id)
    assert changes(before, after) == {
        "status": JobStatus.PENDING,
        "scheduled_for": scene.clock.after(10),
        "attempt_count": 0,
        "launch_failures": 1,
        "worker_id": None,
        "worker_started_at": None,
        "worker_expires_at": None,
        "error": after.attempt_errors[0].message,
        "errors": after.errors,
        "updated_at": now,
    }


async def test_started_job_without_attempts_left_has_failed(scene: Scene) -> None:
    claim = await scene.running(max_attempts=1)
    before = await scene.get(claim.job_id)
    now = scene.clock.advance(60)

    rescued = await scene.store.rescue()

    assert rescued[claim.job_id].status is JobStatus.FAILED
    after = await scene.get(claim.job_id)
    assert changes(before, after) == {
        "status": JobStatus.FAILED,
        "completed_at": now,
        "worker_expires_at": None,
        "error": after.attempt_errors[0].message,
        "errors": after.errors,
        "updated_at": now,
    }


async def test_job_that_never_starts_fails_after_its_launches(scene: Scene) -> None:
    claim = await scene.running(starting=False, max_attempts=1, retry_policy=AT_ONCE)
    for _ in range(MAX_LAUNCH_FAILURES - 1):
        scene.clock.advance(60)
        rescued = await scene.store.rescue()
        assert rescued[claim.job_id].status is JobStatus.PENDING
        claim = await scene.claimed_again(claim.job_id, starting=False)

    scene.clock.advance(60)
    rescued = await scene.store.rescue()

    assert rescued[claim.job_id].status is JobStatus.FAILED
    record = await scene.get(claim.job_id)
    assert (record.launch_failures, record.attempt_count) == (MAX_LAUNCH_FAILURES, 0)


async def test_lease_lives_until_its_last_moment(scene: Scene) -> None:
    claim = await scene.running()

    scene.clock.advance(59.999)
    assert await scene.store.rescue() == {}
    scene.clock.advance(0.001)
    assert set(await scene.store.rescue()) == {claim.job_id}


async def test_renewed_lease_is_left_alone(scene: Scene) -> None:
    claim = await scene.running()
    scene.clock.advance(30)
    await scene.store.heartbeat([claim], lease_seconds=60)

    scene.clock.advance(59)

    assert await scene.store.rescue() == {}
    assert await scene.settle(claim, Completed("1")) is not None


async def test_rescue_leaves_a_lease_that_is_renewed_between_its_look_and_its_write(
    database: Database, clock: Clock
) -> None:
    interrupted = InterruptedDatabase(database)
    scene = Scene(interrupted, clock)
    claim = await scene.running()
    clock.advance(61)
    holder = Store(database, now=clock.expression)

    with interrupted.interrupted_by(
        lambda: holder.heartbeat([claim], lease_seconds=60), after_statements=1
    ):
        assert await scene.store.rescue() == {}

    assert await holder.settle({claim: Completed("1")}) != {}


async def test_rescue_leaves_a_job_that_changed_hands_between_its_look_and_its_write(
    database: Database, clock: Clock
) -> None:
    interrupted = InterruptedDatabase(database)
    scene = Scene(interrupted, clock)
    claim = await scene.running()
    clock.advance(61)
    other = Scene(database, clock)

    async def give_back_and_claim() -> None:
        await other.settle(claim, Released("shutdown"))
        await other.claimed_again(claim.job_id)
        clock.advance(61)

    with interrupted.interrupted_by(give_back_and_claim, after_statements=1):
        assert await scene.store.rescue() == {}, "the look was at another fence"

    assert set(await scene.store.rescue()) == {claim.job_id}


@each_shared_kind
async def test_two_rescuers_take_each_job_back_once(
    database: Database, place: Place, clock: Clock
) -> None:
    scene = Scene(database, clock)
    await scene.store.enqueue([new_job(retry_policy=AT_ONCE) for _ in range(50)])
    await scene.claim(50)
    clock.advance(61)
    rescuers = [Store(place.open(), now=clock.expression) for _ in range(3)]

    rescues = await asyncio.gather(*(store.rescue() for store in rescuers))

    assert sorted(job_id for rescued in rescues for job_id in rescued) == sorted(
        record.id for record in await scene.store.list_jobs(limit=100)
    )
    assert {len(record.attempt_errors) for record in await scene.store.list_jobs(limit=100)} == {1}


async def test_rescue_takes_only_running_jobs(scene: Scene) -> None:
    done = await scene.running()
    await scene.settle(done, Completed("1"))
    pending = await scene.pending(delay_seconds=1_000)
    before = [await scene.get(job_id) for job_id in (done.job_id, pending)]

    scene.clock.advance(86_400)

    assert await scene.store.rescue() == {}
    assert [await scene.get(job_id) for job_id in (done.job_id, pending)] == before


async def test_rescue_of_many_is_bounded_and_takes_the_longest_expired_first(scene: Scene) -> None:
    await scene.store.enqueue([new_job() for _ in range(520)])
    late = {job.id for job in await scene.claim(20, lease_seconds=90)}
    early = {job.id for job in await scene.claim(500, lease_seconds=60)}
    scene.clock.advance(100)

    assert set(await scene.store.rescue()) == early
    assert set(await scene.store.rescue()) == late


async def test_back_off_grows_with_the_attempts(scene: Scene) -> None:
    policy = '{"base_seconds": 10.0, "factor": 2.0, "jitter": false}'
    claim = await scene.running(retry_policy=policy)
    delays = []
    for _ in range(2):
        now = scene.clock.advance(61)
        due = (await scene.store.rescue())[claim.job_id].scheduled_for
        delays.append(due - now)
        scene.clock.advance(3_600)
        await scene.store.stage()
        claim = await scene.claimed_again(claim.job_id)

    assert delays == [timedelta(seconds=10), timedelta(seconds=20)]


async def test_broken_retry_policy_doesnt_keep_a_job_from_its_rescue(scene: Scene) -> None:
    claim = await scene.running(retry_policy='{"base_seconds": "nonsense"}')
    scene.clock.advance(61)

    assert (await scene.store.rescue())[claim.job_id].status is JobStatus.PENDING


async def test_rescue_begins_the_releases_anew(scene: Scene) -> None:
    claim = await scene.running(retry_policy=AT_ONCE)
    await scene.settle(claim, Released("shutdown"))
    claim = await scene.claimed_again(claim.job_id)
    assert (await scene.get(claim.job_id)).release_count == 1

    scene.clock.advance(61)
    await scene.store.rescue()

    assert (await scene.get(claim.job_id)).release_count == 0


async def test_errors_of_rescue_keep_to_the_last_twenty(scene: Scene) -> None:
    claim = await scene.running(max_attempts=100, retry_policy=AT_ONCE)
    for _ in range(22):
        scene.clock.advance(61)
        await scene.store.rescue()
        claim = await scene.claimed_again(claim.job_id)

    entries = (await scene.get(claim.job_id)).attempt_errors
    assert [entry.attempt for entry in entries] == list(range(3, 23))
    assert entries == [replace(entry, type="lease_expired") for entry in entries]


async def test_rescued_by_the_databases_own_clock(store: Store) -> None:
    new = new_job()
    claimed = await store.insert_running(new, worker_id="w", lease_seconds=0)
    fresh = await store.insert_running(new_job(), worker_id="w", lease_seconds=60)

    assert set(await store.rescue()) == {claimed.id}
    assert await store.held_by("w") == {fresh.claim}
