"""Looking at jobs: one, by a prefix, in pages, counted."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from server_jobs.errors import JobNotFoundError
from server_jobs.outcomes import Completed, Failed
from server_jobs.schema import JobStatus
from server_jobs.store import JobCount, Store
from tests.support.scene import JOB, Scene, error, new_job


async def test_unknown_id_is_named(scene: Scene) -> None:
    with pytest.raises(JobNotFoundError, match="no-such-id"):
        await scene.store.get("no-such-id")


# ── by prefix ────────────────────────────────────────────────────────────────────────────────


async def test_prefix_finds_the_ids_that_begin_with_it(scene: Scene) -> None:
    for job_id in ("aa1", "aa2", "ab", "b", "A"):
        await scene.pending(id=job_id)

    async def found(prefix: str, limit: int = 10) -> list[str]:
        return [record.id for record in await scene.store.by_prefix(prefix, limit)]

    assert await found("aa") == ["aa1", "aa2"]
    assert await found("aa1") == ["aa1"]
    assert await found("aa1x") == []
    assert await found("") == ["A", "aa1", "aa2", "ab", "b"]
    assert await found("a", limit=2) == ["aa1", "aa2"]


@pytest.mark.parametrize("prefix", ["%", "_a", "a%", "a_"])
async def test_wildcards_are_characters_like_others(scene: Scene, prefix: str) -> None:
    await scene.pending(id="aab")

    assert await scene.store.by_prefix(prefix) == []


# ── lists ────────────────────────────────────────────────────────────────────────────────────


async def test_newest_come_first_in_pages(scene: Scene) -> None:
    new = [new_job() for _ in range(7)]
    await scene.store.enqueue(new)
    newest_first = sorted((job.id for job in new), reverse=True)

    pages = []
    before_id = None
    while page := await scene.store.list_jobs(before_id=before_id, limit=3):
        pages.append([record.id for record in page])
        before_id = page[-1].id

    assert pages == [newest_first[:3], newest_first[3:6], newest_first[6:]]


async def test_filters_combine(scene: Scene) -> None:
    plain = await scene.pending()
    part = await scene.pending(job_name="Part", queue="mail", correlation_id="c")
    mail = await scene.pending(queue="mail", correlation_id="c")
    done = (await scene.running(queue="other")).job_id
    await scene.store.cancel(plain)

    async def found(**filters: object) -> set[str]:
        return {record.id for record in await scene.store.list_jobs(**filters)}  # type: ignore[arg-type]

    assert await found() == {plain, part, mail, done}
    assert await found(status=JobStatus.PENDING) == {part, mail}
    assert await found(status=JobStatus.CANCELLED) == {plain}
    assert await found(status=JobStatus.COMPLETED) == set()
    assert await found(job_name=JOB) == {plain, mail, done}
    assert await found(queue="mail") == {part, mail}
    assert await found(correlation_id="c", job_name="Part") == {part}
    assert await found(queue="mail", status=JobStatus.RUNNING) == set()
    assert await found(queue="it's") == set()


# ── counts ───────────────────────────────────────────────────────────────────────────────────


async def test_counts_by_name_queue_and_status(scene: Scene) -> None:
    assert await scene.store.counts() == []
    for _ in range(2):
        lease = await scene.running()
        scene.clock.advance(3)
        await scene.settle(lease, Completed("1"))
    lease = await scene.running()
    scene.clock.advance(9)
    await scene.settle(lease, Failed(error(), permanent=True))
    await scene.pending(queue="mail")
    await scene.pending(job_name="Part")
    await scene.pending()

    counts = await scene.store.counts()

    assert [(c.job_name, c.queue, c.status, c.count) for c in counts] == [
        (JOB, "default", JobStatus.COMPLETED, 2),
        (JOB, "default", JobStatus.FAILED, 1),
        (JOB, "default", JobStatus.PENDING, 1),
        (JOB, "mail", JobStatus.PENDING, 1),
        ("Part", "default", JobStatus.PENDING, 1),
    ]
    assert counts[0].mean_seconds == pytest.approx(3, abs=0.001)
    assert counts[1].mean_seconds == pytest.approx(9, abs=0.001)
    assert counts[2] == JobCount(JOB, "default", JobStatus.PENDING, 1, None)


# ── what is left to do ───────────────────────────────────────────────────────────────────────


async def outstanding(scene: Scene, within_seconds: float = 0) -> bool:
    return await scene.store.outstanding(
        queues=["default", "mail"], job_names=[JOB, "Other"], within_seconds=within_seconds
    )


async def test_nothing_is_outstanding_in_an_empty_table(scene: Scene) -> None:
    assert not await outstanding(scene)
    assert not await outstanding(scene, within_seconds=1e6)


@pytest.mark.parametrize("queue", ["default", "mail"])
async def test_pending_job_is_outstanding_until_it_runs(scene: Scene, queue: str) -> None:
    await scene.pending(queue=queue)
    assert await outstanding(scene)

    await scene.claim(queue=queue)

    assert not await outstanding(scene, within_seconds=1e6)


async def test_delayed_job_is_outstanding_within_its_time(scene: Scene) -> None:
    await scene.pending(delay_seconds=10)

    assert not await outstanding(scene, within_seconds=9.999)
    assert await outstanding(scene, within_seconds=10)


async def test_jobs_of_others_are_not_outstanding(scene: Scene) -> None:
    await scene.pending(queue="elsewhere")
    await scene.pending(job_name="Unheard")

    assert not await outstanding(scene, within_seconds=1e6)


async def test_available_counts_what_could_be_claimed_now(scene: Scene) -> None:
    async def available() -> int:
        return await scene.store.available(queues=["default", "mail"], job_names=[JOB])

    assert await available() == 0
    await scene.store.enqueue([new_job() for _ in range(3)])
    await scene.pending(queue="mail")
    await scene.pending(queue="elsewhere")
    await scene.pending(job_name="Unheard")
    await scene.pending(delay_seconds=60)

    assert await available() == 4
    await scene.claim(2)
    assert await available() == 2


async def test_available_stops_counting_at_a_thousand(scene: Scene) -> None:
    await scene.store.enqueue([new_job() for _ in range(1_010)])

    assert await scene.store.available(queues=["default"], job_names=[JOB]) == 1_000


# ── the clock ────────────────────────────────────────────────────────────────────────────────


async def test_clock_is_the_one_the_store_was_given(scene: Scene) -> None:
    assert await scene.store.clock() == scene.clock.value
    scene.clock.advance(1.5)
    assert await scene.store.clock() == scene.clock.value


async def test_own_clock_of_the_database_runs_in_utc(store: Store) -> None:
    # The databases of this suite run on this machine; SQLite's clock has milliseconds.
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    first = await store.clock()
    await asyncio.sleep(0.005)
    second = await store.clock()

    assert before <= first < second <= datetime.now(UTC)
    assert first.tzinfo is UTC


async def test_migrated_tables_are_what_this_code_needs(store: Store) -> None:
    await store.check_schema()
