"""Settling many executions, and claiming the next jobs, in one commit."""

import pytest

from server_jobs.errors import DatabaseError
from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.outcomes import (
    Abandoned,
    Completed,
    Failed,
    LaunchLost,
    Outcome,
    Postponed,
    Released,
)
from server_jobs.records.rows import Claim
from server_jobs.records.status import JobStatus
from tests.support.scene import Scene, claim_of, error, new_job


async def test_outcomes_of_all_kinds_are_settled_together(scene: Scene) -> None:
    await scene.store.enqueue([new_job(max_attempts=2) for _ in range(6)])
    claims = [job.claim for job in await scene.claim(5)]
    claims += [job.claim for job in await scene.claim(1, starting=False)]
    outcomes: list[Outcome] = [
        Completed('"done"'),
        Failed(error(), delay_seconds=1),
        Released("shutdown"),
        Postponed("later", 1),
        Abandoned("cancelled"),
        LaunchLost(error(), 1),
    ]

    settled = await scene.store.settle(dict(zip(claims, outcomes, strict=True)))

    assert [settled[claim.job_id].status for claim in claims] == [
        JobStatus.COMPLETED,
        JobStatus.PENDING,
        JobStatus.PENDING,
        JobStatus.PENDING,
        JobStatus.CANCELLED,
        JobStatus.PENDING,
    ]


async def test_a_thousand_completions_keep_their_own_results(scene: Scene) -> None:
    await scene.store.enqueue([new_job() for _ in range(1_200)])
    claims = [job.claim for job in await scene.claim(1_200)]

    settled = await scene.store.settle({claim: Completed(f'"{claim.job_id}"') for claim in claims})

    assert len(settled) == 1_200
    records = await scene.store.list_jobs(limit=2_000)
    assert {record.id: record.result for record in records} == {
        claim.job_id: f'"{claim.job_id}"' for claim in claims
    }


async def test_settling_nothing_and_claiming_nothing_does_nothing(scene: Scene) -> None:
    assert await scene.store.settle_and_claim({}, None) == ({}, [])


async def test_settling_and_claiming_are_one_step(scene: Scene) -> None:
    claim = await scene.running()
    following = await scene.pending()

    settled, claimed = await scene.store.settle_and_claim({claim: Completed("1")}, claim_of(5))

    assert settled[claim.job_id].status is JobStatus.COMPLETED
    assert [job.id for job in claimed] == [following]


async def test_claim_sees_what_the_same_step_gave_back(scene: Scene) -> None:
    claim = await scene.running()

    _, claimed = await scene.store.settle_and_claim({claim: Released("")}, claim_of(5))

    assert [(job.id, job.fence) for job in claimed] == [(claim.job_id, claim.fence + 1)]


async def test_refused_write_undoes_the_step_whole(scene: Scene) -> None:
    await scene.store.enqueue([new_job(), new_job(), new_job()])
    good, bad = (job.claim for job in await scene.claim(2))
    outcomes: dict[Claim, Outcome] = {
        good: Completed("1"),
        bad: Failed(AttemptError(1, None, "E", "no UTF-8: \ud800", "", "")),
    }

    with pytest.raises(DatabaseError):
        await scene.store.settle_and_claim(outcomes, claim_of(5))

    statuses = [record.status for record in await scene.store.list_jobs()]
    assert sorted(statuses) == [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.RUNNING]


async def test_last_progress_is_written_with_the_end(scene: Scene) -> None:
    claim = await scene.running()

    await scene.store.settle({claim: Failed(error(), permanent=True)}, {claim: (73.5, "sorting")})

    record = await scene.get(claim.job_id)
    assert (record.status, record.progress, record.progress_message) == (
        JobStatus.FAILED,
        73.5,
        "sorting",
    )
