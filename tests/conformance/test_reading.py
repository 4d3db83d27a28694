"""Looking at jobs: one, by a prefix, in pages, counted."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server_jobs.errors import JobNotFoundError
from server_jobs.records.outcomes import Completed, Failed
from server_jobs.records.requests import JobCount, JobFilter, Tally
from server_jobs.records.status import JobStatus
from server_jobs.store.store import Store
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

    async def found(**filters: Any) -> set[str]:
        wanted = JobFilter(**filters)
        listed = [record.id for record in await scene.store.list_jobs(wanted)]
        assert await scene.store.list_ids(wanted) == listed
        tally = await scene.store.tally(wanted)
        assert (tally.total, tally.newest_id) == (len(listed), listed[0] if listed else None)
        return set(listed)

    pending, running, cancelled = JobStatus.PENDING, JobStatus.RUNNING, JobStatus.CANCELLED
    assert await found() == {plain, part, mail, done}
    assert await found(statuses=(pending,)) == {part, mail}
    assert await found(statuses=(cancelled,)) == {plain}
    assert await found(statuses=(cancelled, running)) == {plain, done}
    assert await found(statuses=(JobStatus.COMPLETED,)) == set()
    assert await found(job_names=(JOB,)) == {plain, mail, done}
    assert await found(job_names=("Part", "Unheard")) == {part}
    assert await found(queues=("mail",)) == {part, mail}
    assert await found(queues=("mail", "other")) == {part, mail, done}
    assert await found(correlation_id="c", job_names=("Part",)) == {part}
    assert await found(queues=("mail",), statuses=(running,)) == set()
    assert await found(queues=("it's",)) == set()


async def test_age_is_judged_by_the_clock_of_the_database(scene: Scene) -> None:
    # created_at is the real clock's, whatever the scene's says.
    job_id = await scene.pending()
    created = (await scene.get(job_id)).created_at
    scene.clock.advance((created - scene.clock.value).total_seconds() + 60)

    async def found(**ages: float) -> list[str]:
        return await scene.store.list_ids(JobFilter(**ages))  # type: ignore[arg-type]

    assert await found(older_than=59) == [job_id]
    assert await found(older_than=61) == []
    assert await found(newer_than=61) == [job_id]
    assert await found(newer_than=59) == []
    assert await found(older_than=59, newer_than=61) == [job_id]


async def test_ids_are_paged_like_records(scene: Scene) -> None:
    new = [new_job() for _ in range(5)]
    await scene.store.enqueue(new)
    newest_first = sorted((job.id for job in new), reverse=True)

    assert await scene.store.list_ids(limit=2) == newest_first[:2]
    assert await scene.store.list_ids(before_id=newest_first[1], limit=2) == newest_first[2:4]


async def test_tally_counts_by_status(scene: Scene) -> None:
    assert await scene.store.tally() == Tally({}, None)
    await scene.running()
    for _ in range(2):
        await scene.pending(queue="mail")
    newest = await scene.pending(queue="mail")
    await scene.store.cancel(newest)

    assert await scene.store.tally() == Tally(
        {JobStatus.RUNNING: 1, JobStatus.PENDING: 2, JobStatus.CANCELLED: 1}, newest
    )


async def test_live_jobs_are_those_that_are_due_or_later_or_run(scene: Scene) -> None:
    running = (await scene.running()).job_id
    later = await scene.pending(delay_seconds=60)
    due = await scene.pending(queue="mail")
    await scene.store.cancel(await scene.pending())
    newest_first = sorted([running, later, due], reverse=True)

    assert [record.id for record in await scene.store.list_live()] == newest_first
    assert [record.id for record in await scene.store.list_live(limit=2)] == newest_first[:2]
    (found,) = await scene.store.list_live(JobFilter(queues=("mail",)))
    assert found.id == due


async def test_summaries_say_the_same_as_the_records_and_leave_out_the_missing(
    scene: Scene,
) -> None:
    claim = await scene.running()
    await scene.store.report_progress({claim: (40.0, "half-way")})
    pending = await scene.pending(unique_key="k")

    found = await scene.store.summaries([claim.job_id, "no-such-id", pending])

    assert {summary.id for summary in found} == {claim.job_id, pending}
    for summary in found:
        record = asdict(await scene.get(summary.id))
        assert asdict(summary).items() <= record.items()
    assert await scene.store.summaries([]) == []


# ── counts ───────────────────────────────────────────────────────────────────────────────────


async def test_counts_by_name_queue_and_status(scene: Scene) -> None:
    assert await scene.store.counts() == []
    for _ in range(2):
        claim = await scene.running()
        scene.clock.advance(3)
        await scene.settle(claim, Completed("1"))
    claim = await scene.running()
    scene.clock.advance(9)
    await scene.settle(claim, Failed(error(), permanent=True))
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
