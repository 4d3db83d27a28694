"""Pruning: finished jobs are deleted by age, in stretches of the primary key, and nothing else."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

import pytest
from sqlalchemy import select

from server_jobs.errors import JobNotFoundError
from server_jobs.records.outcomes import Abandoned, Completed, Failed, Outcome
from server_jobs.records.requests import Prunable
from server_jobs.records.status import JobStatus
from server_jobs.sql.statement import Statement
from server_jobs.store.retention import DAY, Keep, Retention, walk
from server_jobs.store.store import Store
from tests.support.databases.faulty import Fault, FaultyDatabase
from tests.support.databases.kinds import Place, each_shared_kind
from tests.support.scene import JOB, Scene, error, new_job

COMPLETED, FAILED, CANCELLED = JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED
LAST = "\U0010ffff"
"""Sorts above every id."""

ENDS: dict[JobStatus, Outcome] = {
    COMPLETED: Completed("1"),
    FAILED: Failed(error(), permanent=True),
    CANCELLED: Abandoned(""),
}

each_end = pytest.mark.parametrize("status", ENDS)


def all_before(moment: datetime, *names: str) -> Prunable:
    return Prunable(dict.fromkeys(ENDS, moment), names)


async def ended(scene: Scene, status: JobStatus = COMPLETED, job_name: str = JOB) -> str:
    claim = await scene.running(job_name=job_name)
    await scene.settle(claim, ENDS[status])
    return claim.job_id


async def finished(scene: Scene, count: int) -> list[str]:
    await scene.store.enqueue([new_job() for _ in range(count)])
    claims = [job.claim for job in await scene.claim(count)]
    await scene.store.settle({claim: Completed("1") for claim in claims})
    return sorted(claim.job_id for claim in claims)


async def ids(scene: Scene) -> list[str]:
    job = scene.store.database.tables.jobs.c
    return [
        job_id
        for (job_id,) in await scene.store.database.execute(
            Statement(select(job.id).order_by(job.id))
        )
    ]


async def prune_all(store: Store, prunable: Prunable) -> Mapping[str, JobStatus]:
    return await store.prune(prunable, after="", to=LAST)


# ── one statement ────────────────────────────────────────────────────────────────────────────


@each_end
async def test_finished_job_is_deleted_once_it_is_old_enough(
    scene: Scene, status: JobStatus
) -> None:
    job_id = await ended(scene, status)

    assert await prune_all(scene.store, all_before(scene.clock.value)) == {}
    old_enough = all_before(scene.clock.after(0.001))
    assert await prune_all(scene.store, old_enough) == {job_id: status}
    assert await ids(scene) == []


@each_end
async def test_each_status_has_a_moment_of_its_own(scene: Scene, status: JobStatus) -> None:
    all_of_them = {status: await ended(scene, status) for status in ENDS}

    gone = await prune_all(scene.store, Prunable({status: scene.clock.after(1)}))

    assert gone == {all_of_them.pop(status): status}
    assert await ids(scene) == sorted(all_of_them.values())


async def test_live_jobs_stay(scene: Scene) -> None:
    running = await scene.running()
    pending = await scene.pending()
    delayed = await scene.pending(delay_seconds=60)
    gone_round = await scene.running(queue="other")
    await scene.settle(gone_round, Failed(error()))

    assert await prune_all(scene.store, all_before(scene.clock.after(365 * DAY))) == {}

    assert await ids(scene) == sorted([running.job_id, pending, delayed, gone_round.job_id])


async def test_names_narrow_it_down(scene: Scene) -> None:
    a, b, c = [await ended(scene, job_name=name) for name in "abc"]
    prunable = all_before(scene.clock.after(1), "a", "b")

    stretch = await scene.store.survey(prunable, after="", limit=10)
    gone = await prune_all(scene.store, prunable)

    assert stretch.prunable == {COMPLETED: 2, FAILED: 0, CANCELLED: 0}
    assert gone == {a: COMPLETED, b: COMPLETED}
    assert await ids(scene) == [c]


async def test_only_ids_between_the_two_that_are_named_go(scene: Scene) -> None:
    first, second, third, fourth = await finished(scene, 4)

    gone = await scene.store.prune(all_before(scene.clock.after(1)), after=first, to=third)

    assert gone == {second: COMPLETED, third: COMPLETED}
    assert await ids(scene) == [first, fourth]


async def test_survey_counts_and_ends_where_its_rows_do(scene: Scene) -> None:
    first, second, third = await finished(scene, 3)
    live = await scene.pending()
    prunable = all_before(scene.clock.after(1))

    page = await scene.store.survey(prunable, after="", limit=2)
    rest = await scene.store.survey(prunable, after=page.last_id, limit=2)
    nothing = await scene.store.survey(prunable, after=rest.last_id, limit=2)

    none = dict.fromkeys(ENDS, 0)
    assert (page.last_id, page.rows, page.prunable) == (second, 2, none | {COMPLETED: 2})
    assert (rest.last_id, rest.rows, rest.prunable) == (live, 2, none | {COMPLETED: 1})
    assert (nothing.last_id, nothing.rows, nothing.prunable) == (live, 0, none)
    assert first in await ids(scene)
    assert third in await ids(scene), "a survey deletes nothing"


async def test_job_that_was_retried_after_the_survey_stays(scene: Scene) -> None:
    job_id = await ended(scene, FAILED)
    prunable = all_before(scene.clock.after(1))
    stretch = await scene.store.survey(prunable, after="", limit=10)
    assert stretch.prunable[FAILED] == 1
    assert stretch.last_id is not None

    await scene.store.retry(job_id)

    assert await scene.store.prune(prunable, after="", to=stretch.last_id) == {}
    assert (await scene.get(job_id)).status is JobStatus.PENDING


async def test_job_that_was_pruned_cant_be_retried(scene: Scene) -> None:
    job_id = await ended(scene, FAILED)
    await prune_all(scene.store, all_before(scene.clock.after(1)))

    with pytest.raises(JobNotFoundError):
        await scene.store.retry(job_id)


# ── the walk ─────────────────────────────────────────────────────────────────────────────────


async def test_walk_goes_on_past_stretches_without_anything_to_delete(scene: Scene) -> None:
    kept = [await scene.pending(delay_seconds=60) for _ in range(5)]
    old = await finished(scene, 3)
    kept += [await scene.pending(delay_seconds=60) for _ in range(3)]
    prunable = all_before(scene.clock.after(1))

    stretches = [
        stretch async for stretch in walk(scene.store, prunable, delete=True, rows=2, rest=0)
    ]

    assert [stretch.rows for stretch in stretches] == [2, 2, 2, 2, 2, 1]
    assert sum(sum(stretch.prunable.values()) for stretch in stretches) == len(old)
    assert await ids(scene) == kept


async def test_walk_that_only_looks_counts_what_one_that_deletes_would_delete(
    scene: Scene,
) -> None:
    await finished(scene, 5)
    await ended(scene, FAILED)
    await scene.pending()
    prunable = all_before(scene.clock.after(1))

    async def count(*, delete: bool) -> Counter[JobStatus]:
        found: Counter[JobStatus] = Counter()
        async for stretch in walk(scene.store, prunable, delete=delete, rows=2, rest=0):
            found.update(stretch.prunable)
        return +found

    assert await count(delete=False) == await count(delete=True) == {COMPLETED: 5, FAILED: 1}
    assert await count(delete=True) == {}


# ── a pass ───────────────────────────────────────────────────────────────────────────────────


async def test_pass_deletes_what_was_kept_for_long_enough(scene: Scene) -> None:
    keep = Keep(completed=10, failed=20, cancelled=None)
    jobs = {status: await ended(scene, status) for status in ENDS}
    retention = Retention(scene.store, keep)
    gone = []

    for _ in range(4):
        gone.append(await retention.run_pass())
        scene.clock.advance(10.001)

    assert gone == [{}, {COMPLETED: 1}, {FAILED: 1}, {}]
    assert await ids(scene) == [jobs[CANCELLED]]


async def test_keeping_for_no_time_deletes_at_the_next_pass(scene: Scene) -> None:
    await ended(scene)
    scene.clock.advance(0.001)

    gone = await Retention(scene.store, Keep(completed=0)).run_pass()

    assert gone[COMPLETED] == 1


async def test_keeping_for_ever_asks_the_database_nothing(scene: Scene) -> None:
    await ended(scene)
    scene.clock.advance(100 * 365 * DAY)
    broken = FaultyDatabase(scene.store.database)
    broken.plan = lambda statements: Fault.BEFORE
    keep = Keep(completed=None, failed=None, cancelled=None)

    assert await Retention(Store(broken), keep).run_pass() == {}


@each_shared_kind
async def test_two_that_prune_at_once_delete_each_job_once(place: Place, scene: Scene) -> None:
    count = 2_000
    await finished(scene, count)
    scene.clock.advance(1)
    keep = Keep(completed=0)
    others = [Store(place.open(), now=scene.clock.expression) for _ in range(2)]

    gone = await asyncio.gather(*(Retention(store, keep).run_pass() for store in others))

    # What one had locked, the other has passed over: nothing is left to do.
    assert sum(counts[COMPLETED] for counts in gone) == count
    assert await ids(scene) == []
