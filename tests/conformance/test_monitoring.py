"""Figures about the jobs: what is live, how the rest ended, and who works."""

import pytest

from server_jobs.monitoring.monitor import Activity, EndedJobs, LiveJobs, LiveKind, Monitor
from server_jobs.records.outcomes import Abandoned, Completed, Failed
from server_jobs.records.status import JobStatus
from tests.support.scene import JOB, Scene, error

HOUR = 3_600.0


@pytest.fixture
def monitor(scene: Scene) -> Monitor:
    return Monitor(scene.store.database, now=scene.clock.expression)


async def run_for(scene: Scene, *seconds: float, **options: str) -> None:
    """Execute one job after the other, each for so long."""
    for duration in seconds:
        claim = await scene.running(**options)  # type: ignore[arg-type]
        scene.clock.advance(duration)
        await scene.settle(claim, Completed("1"))


async def test_empty_table_has_no_figures(monitor: Monitor) -> None:
    assert await monitor.live() == []
    assert await monitor.ended(None) == []
    assert await monitor.activity(HOUR) == []


# ── what is live ─────────────────────────────────────────────────────────────────────────────


async def test_live_jobs_are_told_by_queue_name_and_kind(scene: Scene, monitor: Monitor) -> None:
    await scene.running()
    scene.clock.advance(50)
    await scene.running()
    await scene.pending(queue="mail")
    scene.clock.advance(12)  # the first lease has expired two seconds ago
    await scene.pending(queue="mail")
    await scene.pending(queue="mail", job_name="Part", delay_seconds=30)

    live = await monitor.live()

    assert [(j.queue, j.job_name, j.kind, j.count, round(j.seconds, 2)) for j in live] == [
        ("default", JOB, LiveKind.EXPIRED, 1, 2),
        ("default", JOB, LiveKind.RUNNING, 1, 12),
        ("mail", JOB, LiveKind.DUE, 2, 12),
        ("mail", "Part", LiveKind.LATER, 1, -30),
    ]


async def test_what_waits_is_told_for_so_many_queues_and_the_rest(
    scene: Scene, monitor: Monitor
) -> None:
    assert await monitor.waiting(["a"]) == []
    await scene.running(queue="b")
    for queue in ("a", "b", "b", "c", "c", "c", "d"):
        await scene.pending(queue=queue)
    await scene.pending(queue="a", delay_seconds=100)
    scene.clock.advance(5)

    async def told(*queues: str, most: int = 500) -> list[tuple[str | None, int, float]]:
        return [
            (of.queue, of.count, round(of.seconds, 2))
            for of in await monitor.waiting(queues, most=most)
        ]

    assert await told() == [("c", 3, 5), ("a", 2, 5), ("b", 2, 5), ("d", 1, 5)]
    assert await told("d", "z") == [("d", 1, 5), ("c", 3, 5), ("a", 2, 5), ("b", 2, 5)]
    assert await told("d", most=2) == [("d", 1, 5), ("c", 3, 5), (None, 4, 5)]


async def test_job_is_due_at_its_time_staged_or_not(scene: Scene, monitor: Monitor) -> None:
    await scene.pending(delay_seconds=10)
    await scene.pending()
    scene.clock.advance(15)

    async def live() -> list[LiveJobs]:
        return await monitor.live()

    unstaged = await live()
    await scene.store.stage()

    assert unstaged == await live()
    assert [(jobs.kind, jobs.count) for jobs in unstaged] == [(LiveKind.DUE, 2)]


async def test_what_has_ended_is_not_live(scene: Scene, monitor: Monitor) -> None:
    await run_for(scene, 1)
    await scene.store.cancel(await scene.pending())

    assert await monitor.live() == []


# ── how the rest ended ───────────────────────────────────────────────────────────────────────


async def test_run_times_are_summed_up_by_name_and_status(scene: Scene, monitor: Monitor) -> None:
    # Twenty of 1 to 20 seconds, not in order.
    await run_for(scene, *(1 + number * 7 % 20 for number in range(20)))
    await run_for(scene, 5, job_name="Part")
    claim = await scene.running()
    scene.clock.advance(9)
    await scene.settle(claim, Failed(error(), permanent=True))
    await scene.pending()

    ended = {(e.job_name, e.status): e for e in await monitor.ended(None)}

    assert set(ended) == {
        (JOB, JobStatus.COMPLETED),
        (JOB, JobStatus.FAILED),
        ("Part", JobStatus.COMPLETED),
    }
    assert_times(ended[JOB, JobStatus.COMPLETED], 20, mean=10.5, p50=10, p95=19, longest=20)
    assert_times(ended[JOB, JobStatus.FAILED], 1, mean=9, p50=9, p95=9, longest=9)
    assert_times(ended["Part", JobStatus.COMPLETED], 1, mean=5, p50=5, p95=5, longest=5)


def assert_times(ended: EndedJobs, count: int, **times: float) -> None:
    assert ended.count == count
    for name, seconds in times.items():
        assert getattr(ended, name) == pytest.approx(seconds, abs=0.001), name


async def test_jobs_that_never_ran_are_counted_without_a_run_time(
    scene: Scene, monitor: Monitor
) -> None:
    claim = await scene.running()
    scene.clock.advance(3)
    await scene.settle(claim, Abandoned("asked to"))
    for _ in range(3):
        await scene.store.cancel(await scene.pending())
    (part,) = [await scene.pending(job_name="Part")]
    await scene.store.cancel(part)

    ran, never = await monitor.ended(None)

    assert_times(ran, 4, mean=3, p50=3, p95=3, longest=3)
    assert never == EndedJobs("Part", JobStatus.CANCELLED, 1, None, None, None, None)


async def test_run_time_is_that_of_the_last_attempt(scene: Scene, monitor: Monitor) -> None:
    first = await scene.running()
    scene.clock.advance(40)
    await scene.settle(first, Failed(error(), delay_seconds=0))
    second = await scene.claimed_again(first.job_id)
    scene.clock.advance(2)
    await scene.settle(second, Completed("1"))

    (ended,) = await monitor.ended(None)

    assert_times(ended, 1, mean=2)


async def test_only_what_was_enqueued_within_the_time_is_looked_at(
    scene: Scene, monitor: Monitor
) -> None:
    await run_for(scene, 1)
    scene.clock.advance(HOUR)
    await run_for(scene, 2)

    (recent,) = await monitor.ended(HOUR)
    (all_,) = await monitor.ended(None)

    assert_times(recent, 1, mean=2)
    assert all_.count == 2


async def test_ended_jobs_are_narrowed_to_queues_and_names(scene: Scene, monitor: Monitor) -> None:
    await run_for(scene, 1)
    await run_for(scene, 2, queue="mail")
    await run_for(scene, 3, queue="mail", job_name="Part")

    async def means(**narrowed: list[str]) -> list[float]:
        return [round(e.mean or 0, 1) for e in await monitor.ended(HOUR, **narrowed)]

    assert await means(queues=["mail"]) == [2, 3]
    assert await means(job_names=[JOB]) == [1.5]
    assert await means(queues=["mail", "default"], job_names=["Part"]) == [3]


# ── who works ────────────────────────────────────────────────────────────────────────────────


async def test_workers_are_known_by_what_they_hold_and_what_they_ended(
    scene: Scene, monitor: Monitor
) -> None:
    await run_for(scene, 1, queue="mail")
    scene.clock.advance(10)
    for _ in range(2):
        await scene.running()
    claim = await scene.running()
    scene.clock.advance(20)
    await scene.store.heartbeat([claim], lease_seconds=60)
    scene.clock.advance(5)

    activity = await monitor.activity(HOUR)

    assert [rounded(sign) for sign in activity] == [
        Activity("worker", "default", JOB, running=True, count=3, seconds=5),
        Activity("worker", "mail", JOB, running=False, count=1, seconds=35),
    ]


def rounded(sign: Activity) -> Activity:
    return Activity(
        sign.worker_id, sign.queue, sign.job_name, sign.running, sign.count, round(sign.seconds, 2)
    )


async def test_worker_that_ended_its_last_job_before_the_time_is_forgotten(
    scene: Scene, monitor: Monitor
) -> None:
    await run_for(scene, 1)
    scene.clock.advance(HOUR)

    assert await monitor.activity(HOUR) == []
    assert len(await monitor.activity(HOUR + 1)) == 1
