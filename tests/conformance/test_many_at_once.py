"""Retrying and cancelling many in one statement: what can't be done stops nothing else."""

import asyncio
from collections.abc import Sequence
from typing import Any

from server_jobs.database import Database
from server_jobs.errors import ConstraintViolatedError
from server_jobs.records.outcomes import Abandoned, Completed, Failed
from server_jobs.records.requests import Changed, Skipped
from server_jobs.records.status import JobStatus
from server_jobs.sql.statement import Statement
from server_jobs.store.statements.maintain import MaintainStatements
from server_jobs.store.store import Store
from tests.support.databases.faulty import Fault, FaultyDatabase
from tests.support.databases.kinds import Kind, Place, each_shared_kind
from tests.support.scene import Scene, error, new_job

PENDING, RUNNING = JobStatus.PENDING, JobStatus.RUNNING
CANCELLED, COMPLETED, FAILED = JobStatus.CANCELLED, JobStatus.COMPLETED, JobStatus.FAILED


async def failed(scene: Scene, **options: Any) -> str:
    claim = await scene.running(**options)
    await scene.settle(claim, Failed(error(), permanent=True))
    return claim.job_id


async def statuses(scene: Scene, *ids: str) -> list[JobStatus]:
    return [(await scene.get(job_id)).status for job_id in ids]


# ── retry ────────────────────────────────────────────────────────────────────────────────────


async def test_failed_and_cancelled_jobs_are_retried_and_the_others_are_named(
    scene: Scene,
) -> None:
    broken = await failed(scene)
    stopped = await scene.running()
    await scene.settle(stopped, Abandoned("enough"))
    done = await scene.running()
    await scene.settle(done, Completed("1"))
    pending = await scene.pending(delay_seconds=60)

    changed = await scene.store.retry_many(
        [broken, pending, stopped.job_id, "no-such-id", done.job_id]
    )

    assert changed.statuses == {broken: PENDING, stopped.job_id: PENDING}
    assert [(skipped.job_id, skipped.status) for skipped in changed.skipped] == [
        (pending, PENDING),
        ("no-such-id", None),
        (done.job_id, COMPLETED),
    ]
    assert f"job {done.job_id} is completed" in changed.skipped[2].reason
    assert changed.skipped[1].reason == "there is no job no-such-id"


async def test_job_whose_key_a_live_one_has_is_skipped_alone(scene: Scene) -> None:
    ids = [await failed(scene, unique_key=key) for key in ("a", "b", "c")]
    live = await scene.pending(unique_key="b")

    changed = await scene.store.retry_many(ids)

    assert set(changed.statuses) == {ids[0], ids[2]}
    (skipped,) = changed.skipped
    assert (skipped.job_id, skipped.status) == (ids[1], FAILED)
    assert "unique key 'b'" in skipped.reason
    assert await statuses(scene, *ids, live) == [PENDING, FAILED, PENDING, PENDING]


async def test_of_several_with_the_same_key_the_newest_is_retried(scene: Scene) -> None:
    ids = [await failed(scene, unique_key="order-17") for _ in range(3)]

    changed = await scene.store.retry_many(ids)

    assert set(changed.statuses) == {max(ids)}
    assert {skipped.job_id for skipped in changed.skipped} == set(ids) - {max(ids)}


async def test_a_key_is_a_names_own_and_none_is_no_key(scene: Scene) -> None:
    same_key = [await failed(scene, job_name=name, unique_key="k") for name in ("One", "Two")]
    without = [await failed(scene) for _ in range(2)]

    assert not (await scene.store.retry_many(same_key + without)).skipped


async def test_newer_job_with_the_key_that_cannot_be_retried_stops_no_older_one(
    scene: Scene,
) -> None:
    older = await failed(scene, unique_key="k")
    newer = await scene.running(unique_key="k")
    await scene.settle(newer, Completed("1"))

    assert set((await scene.store.retry_many([older, newer.job_id])).statuses) == {older}


def keys_are_taken_meanwhile(statements: Sequence[Statement]) -> Exception | None:
    """Every statement on more than one job comes too late."""
    late = any(len(statement.values.get("chosen", ())) > 1 for statement in statements)
    return ConstraintViolatedError("UNIQUE constraint failed") if late else None


async def test_key_that_is_taken_between_look_and_write_stops_no_other_job(
    database: Database,
) -> None:
    faulty = FaultyDatabase(database)
    store = Store(faulty)
    ids = await store.enqueue([new_job() for _ in range(5)])
    await store.cancel_many(ids)
    faulty.plan = keys_are_taken_meanwhile

    changed = await store.retry_many(ids)

    assert faulty.faults == 4, "halved until each job stood alone"
    assert changed == Changed(dict.fromkeys(ids, PENDING), [])


@each_shared_kind
async def test_two_who_retry_the_same_jobs_retry_each_of_them_once(
    kind: Kind, place: Place, database: Database
) -> None:
    store = Store(database)
    other = Store(place.open())
    new = [new_job(unique_key=f"key-{n}") for n in range(50)]
    await store.enqueue(new)
    ids = [job.id for job in new]
    await store.cancel_many(ids)

    first, second = await asyncio.gather(store.retry_many(ids), other.retry_many(ids[::-1]))

    assert sorted([*first.statuses, *second.statuses]) == sorted(ids)
    assert all(skipped.status is PENDING for skipped in [*first.skipped, *second.skipped])


# ── cancel ───────────────────────────────────────────────────────────────────────────────────


async def test_pending_jobs_are_cancelled_running_ones_asked_and_ended_ones_named(
    scene: Scene,
) -> None:
    ended = await failed(scene)
    running = (await scene.running()).job_id
    pending = [await scene.pending(), await scene.pending(delay_seconds=60)]

    changed = await scene.store.cancel_many([*pending, running, ended, "no-such-id"])

    assert changed.statuses == {pending[0]: CANCELLED, pending[1]: CANCELLED, running: RUNNING}
    assert changed.skipped == [
        Skipped(ended, FAILED, f"job {ended} is failed: it has ended"),
        Skipped("no-such-id", None, "there is no job no-such-id"),
    ]
    assert (await scene.get(running)).cancel_requested_at == scene.clock.value


async def test_job_that_was_claimed_since_it_was_listed_is_asked_to_stop(scene: Scene) -> None:
    job_id = await scene.pending()
    listed = await scene.store.list_ids()
    (claimed,) = await scene.claim()

    changed = await scene.store.cancel_many(listed)

    assert changed.statuses == {job_id: RUNNING}
    held = await scene.store.cancel_requests("worker")
    assert {claim.fence for claim in held} == {claimed.fence}


async def test_job_that_ended_since_it_was_listed_keeps_its_end(scene: Scene) -> None:
    claim = await scene.running()
    listed = await scene.store.list_ids()
    await scene.settle(claim, Completed('"done"'))

    changed = await scene.store.cancel_many(listed)

    assert (changed.statuses, changed.skipped[0].status) == ({}, COMPLETED)
    assert (await scene.get(claim.job_id)).result == '"done"'


async def test_nothing_is_done_to_no_jobs(scene: Scene) -> None:
    bystander = await failed(scene)

    assert await scene.store.retry_many([]) == Changed({}, [])
    assert await scene.store.cancel_many([]) == Changed({}, [])
    assert await statuses(scene, bystander) == [FAILED]


async def test_lost_answer_to_a_change_is_found_out(database: Database) -> None:
    faulty = FaultyDatabase(database)
    store = Store(faulty)
    job, other = new_job(), new_job()
    await store.enqueue([job, other])
    await database.execute(MaintainStatements.of(database).cancel([other.id]))

    for change, skipped in ((store.cancel_many, CANCELLED), (store.retry_many, None)):
        faulty.break_once(Fault.AFTER, when=_writes)
        changed = await change([job.id, other.id])
        assert job.id in changed.statuses
        assert (await store.get(job.id)).status is changed.statuses[job.id]
        # What was cancelled before isn't said to have been cancelled now.
        assert [one.status for one in changed.skipped] == ([skipped] if skipped else [])

    assert faulty.faults == 2


def _writes(statement: Statement) -> bool:
    return bool(getattr(statement.shape, "is_dml", False))
