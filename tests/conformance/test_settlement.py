"""How an execution ends: each outcome changes its columns, and no others."""

import json
from dataclasses import replace

from server_jobs.records.attempt_error import AttemptError
from server_jobs.records.outcomes import (
    Abandoned,
    Completed,
    Disrupted,
    Failed,
    LaunchLost,
    Outcome,
    Postponed,
    Released,
    Withdrawn,
)
from server_jobs.records.requests import Settled
from server_jobs.records.rows import Claim
from server_jobs.records.status import JobStatus
from tests.support.scene import Scene, changes, error


async def changed_by(scene: Scene, claim: Claim, outcome: Outcome) -> dict[str, object]:
    """Settle a second later → the columns that changed, ``errors`` as records."""
    before = await scene.get(claim.job_id)
    scene.clock.advance(1)
    assert await scene.settle(claim, outcome) is not None, "the lease was lost"
    after = await scene.get(claim.job_id)
    changed = changes(before, after)
    if "errors" in changed:
        changed["errors"] = after.attempt_errors
    return changed


def gone_round(scene: Scene, delay: float = 0) -> dict[str, object]:
    """What every way back to pending changes in a job that was claimed and started."""
    due = scene.clock.after(1 + delay)
    return {
        "status": JobStatus.PENDING,
        "scheduled_for": due,
        "worker_id": None,
        "worker_started_at": None,
        "worker_expires_at": None,
        "handler_started_at": None,
        "updated_at": scene.clock.after(1),
    } | ({} if delay else {"ready": True})


def ended(scene: Scene, status: JobStatus) -> dict[str, object]:
    """What every end without a result changes: it stays known who ran the job, and when."""
    now = scene.clock.after(1)
    return {
        "status": status,
        "completed_at": now,
        "worker_expires_at": None,
        "updated_at": now,
    }


# ── complete ─────────────────────────────────────────────────────────────────────────────────


async def test_completion_changes_just_this(scene: Scene) -> None:
    claim = await scene.running()
    now = scene.clock.after(1)

    changed = await changed_by(scene, claim, Completed('{"greeting": "hello"}'))

    assert changed == {
        "status": JobStatus.COMPLETED,
        "result": '{"greeting": "hello"}',
        "progress": 100.0,
        "completed_at": now,
        "worker_expires_at": None,
        "updated_at": now,
    }


async def test_completion_tells_what_became_of_the_job(scene: Scene) -> None:
    claim = await scene.running()

    assert await scene.settle(claim, Completed("null")) == Settled(
        JobStatus.COMPLETED, scene.clock.value
    )


async def test_result_null_is_a_result(scene: Scene) -> None:
    claim = await scene.running()
    await scene.settle(claim, Completed("null"))

    assert (await scene.get(claim.job_id)).result == "null"


async def test_result_keeps_every_digit_and_character(scene: Scene) -> None:
    result = {"n": 12345678901234567890, "text": "𠀀 🦆 \" \\ ' % : ?"}
    claim = await scene.running()
    await scene.settle(claim, Completed(json.dumps(result)))

    assert json.loads((await scene.get(claim.job_id)).result or "") == result


async def test_completion_may_bring_the_last_message(scene: Scene) -> None:
    claim = await scene.running()
    await scene.store.report_progress({claim: (50.0, "half-way")})

    assert (await changed_by(scene, claim, Completed("1", "done")))["progress_message"] == "done"


async def test_completion_without_a_message_keeps_the_one_before(scene: Scene) -> None:
    claim = await scene.running()
    await scene.store.report_progress({claim: (50.0, "half-way")})

    await scene.settle(claim, Completed("1"))

    record = await scene.get(claim.job_id)
    assert (record.progress, record.progress_message) == (100.0, "half-way")


async def test_completion_wipes_the_error_of_the_attempt_before_but_keeps_its_record(
    scene: Scene,
) -> None:
    claim = await scene.running()
    await scene.settle(claim, Failed(error("first try")))
    claim = await scene.claimed_again(claim.job_id)

    await scene.settle(claim, Completed("1"))

    record = await scene.get(claim.job_id)
    assert record.error is None
    assert [entry.message for entry in record.attempt_errors] == ["first try"]


# ── fail ─────────────────────────────────────────────────────────────────────────────────────


async def test_failure_with_attempts_left_goes_round_after_the_back_off(scene: Scene) -> None:
    claim = await scene.running()
    expected = gone_round(scene, delay=7.5)
    failed_at = scene.clock.after(1)

    changed = await changed_by(scene, claim, Failed(error("boom"), delay_seconds=7.5))

    assert changed == expected | {
        "error": "boom",
        "errors": [replace(error("boom"), at=failed_at)],
    }


async def test_failure_without_a_delay_is_claimable_at_once(scene: Scene) -> None:
    claim = await scene.running()
    expected = gone_round(scene)

    changed = await changed_by(scene, claim, Failed(error("boom")))

    assert {name: changed[name] for name in expected} == expected
    assert (await scene.claimed_again(claim.job_id)).fence == 2


async def test_failure_of_the_last_attempt_is_the_end(scene: Scene) -> None:
    claim = await scene.running(max_attempts=1)
    expected = ended(scene, JobStatus.FAILED)
    failed_at = scene.clock.after(1)

    changed = await changed_by(scene, claim, Failed(error("boom"), delay_seconds=60))

    assert changed == expected | {
        "error": "boom",
        "errors": [replace(error("boom"), at=failed_at)],
    }


async def test_permanent_failure_is_the_end_whatever_attempts_are_left(scene: Scene) -> None:
    claim = await scene.running(max_attempts=10)
    expected = ended(scene, JobStatus.FAILED)

    changed = await changed_by(scene, claim, Failed(error(), permanent=True))

    assert {name: changed[name] for name in expected} == expected
    assert "attempt_count" not in changed


async def test_every_attempt_is_used_before_the_job_fails(scene: Scene) -> None:
    claim = await scene.running(max_attempts=3)
    statuses = []
    for attempt in (1, 2, 3):
        settled = await scene.settle(claim, Failed(error(attempt=attempt)))
        assert settled is not None
        statuses.append(settled.status)
        if not settled.status.finished:
            claim = await scene.claimed_again(claim.job_id)

    assert statuses == [JobStatus.PENDING, JobStatus.PENDING, JobStatus.FAILED]
    record = await scene.get(claim.job_id)
    assert record.attempt_count == 3
    assert [entry.attempt for entry in record.attempt_errors] == [1, 2, 3]


async def test_failure_of_any_text_is_kept_as_it_is(scene: Scene) -> None:
    text = 'it\'s "bad" \\ 100% $1 ? :x\nžluť 🦆'
    wrong = AttemptError(2, None, "Err'or", text, f"Traceback\n{text}", "host/1")
    claim = await scene.running()

    await scene.settle(claim, Failed(wrong))

    record = await scene.get(claim.job_id)
    assert record.error == text
    assert record.attempt_errors == [replace(wrong, at=scene.clock.value)]


async def test_only_the_last_twenty_errors_are_kept(scene: Scene) -> None:
    claim = await scene.running(max_attempts=100)
    for attempt in range(1, 24):
        await scene.settle(claim, Failed(error(f"number {attempt}", attempt)))
        claim = await scene.claimed_again(claim.job_id)

    record = await scene.get(claim.job_id)
    assert [entry.attempt for entry in record.attempt_errors] == list(range(4, 24))
    assert record.error == "number 23"


# ── release ──────────────────────────────────────────────────────────────────────────────────


async def test_release_gives_the_attempt_back(scene: Scene) -> None:
    claim = await scene.running()
    expected = gone_round(scene)

    changed = await changed_by(scene, claim, Released("its worker shuts down"))

    assert changed == expected | {"attempt_count": 0, "release_count": 1}


async def test_released_too_often_in_a_row_is_the_end(scene: Scene) -> None:
    claim = await scene.running()
    for _ in range(2):
        await scene.settle(claim, Released("out of budget", max_releases=2))
        claim = await scene.claimed_again(claim.job_id)
    expected = ended(scene, JobStatus.FAILED)

    changed = await changed_by(scene, claim, Released("out of budget", max_releases=2))

    assert {name: changed[name] for name in expected} == expected
    assert changed["error"] == "out of budget"
    assert changed["release_count"] == 3


async def test_failure_in_between_begins_the_releases_anew(scene: Scene) -> None:
    claim = await scene.running(max_attempts=9)
    for outcome in (
        Released("", max_releases=2),
        Released("", max_releases=2),
        Failed(error()),
        Released("", max_releases=2),
        Released("", max_releases=2),
    ):
        settled = await scene.settle(claim, outcome)
        assert settled is not None
        assert settled.status is JobStatus.PENDING
        claim = await scene.claimed_again(claim.job_id)

    assert (await scene.get(claim.job_id)).release_count == 2


async def test_release_doesnt_wipe_the_error_of_the_attempt_before(scene: Scene) -> None:
    claim = await scene.running()
    await scene.settle(claim, Failed(error("boom")))
    claim = await scene.claimed_again(claim.job_id)

    await scene.settle(claim, Released("shutdown"))

    assert (await scene.get(claim.job_id)).error == "boom"


# ── postpone ─────────────────────────────────────────────────────────────────────────────────


async def test_postponing_counts_nothing(scene: Scene) -> None:
    claim = await scene.running()
    expected = gone_round(scene, delay=300)

    changed = await changed_by(scene, claim, Postponed("the rate limit is used up", 300))

    assert changed == expected | {
        "attempt_count": 0,
        "progress_message": "the rate limit is used up",
    }


async def test_job_may_be_postponed_for_ever(scene: Scene) -> None:
    claim = await scene.running(max_attempts=1)
    for _ in range(30):
        settled = await scene.settle(claim, Postponed("not yet", 0))
        assert settled is not None
        assert settled.status is JobStatus.PENDING
        claim = await scene.claimed_again(claim.job_id)

    assert claim.fence == 31


# ── abandon ──────────────────────────────────────────────────────────────────────────────────


async def test_abandoned_job_is_cancelled(scene: Scene) -> None:
    claim = await scene.running()
    expected = ended(scene, JobStatus.CANCELLED)

    changed = await changed_by(scene, claim, Abandoned("no longer wanted"))

    assert changed == expected | {"error": "no longer wanted"}


# ── lost launches and disruptions ────────────────────────────────────────────────────────────


async def test_lost_launch_charges_a_launch_and_no_attempt(scene: Scene) -> None:
    claim = await scene.running(starting=False)
    expected = gone_round(scene, delay=30)
    del expected["handler_started_at"]  # it never began
    lost_at = scene.clock.after(1)

    changed = await changed_by(scene, claim, LaunchLost(error("image_pull"), 30))

    assert changed == expected | {
        "attempt_count": 0,
        "launch_failures": 1,
        "error": "image_pull",
        "errors": [replace(error("image_pull"), at=lost_at)],
    }


async def test_launches_lost_too_often_are_the_end(scene: Scene) -> None:
    claim = await scene.running(starting=False)
    for number in (1, 2, 3):
        settled = await scene.settle(claim, LaunchLost(error(), 0, max_failures=3))
        assert settled is not None
        assert settled.status is (JobStatus.FAILED if number == 3 else JobStatus.PENDING)
        if number < 3:
            claim = await scene.claimed_again(claim.job_id, starting=False)

    record = await scene.get(claim.job_id)
    assert (record.launch_failures, record.attempt_count) == (3, 0)


async def test_what_couldnt_be_launched_is_withdrawn_and_charged_nothing(scene: Scene) -> None:
    claim = await scene.running(starting=False)
    expected = gone_round(scene, delay=30)
    del expected["handler_started_at"]  # it never began

    changed = await changed_by(scene, claim, Withdrawn("no room", 30))

    assert changed == expected | {"attempt_count": 0, "progress_message": "no room"}


async def test_what_has_begun_isnt_withdrawn(scene: Scene) -> None:
    # The answer to the creation of its Kubernetes Job was lost; a quota refused the second try.
    claim = await scene.running(starting=False)
    await scene.store.start(claim, worker_id="pod-1", lease_seconds=60)
    before = await scene.get(claim.job_id)

    assert await scene.settle(claim, Withdrawn("no room", 30)) is None

    assert await scene.get(claim.job_id) == before


async def test_what_is_withdrawn_after_a_request_to_cancel_is_cancelled(scene: Scene) -> None:
    claim = await scene.running(starting=False)
    await scene.store.cancel(claim.job_id)

    settled = await scene.settle(claim, Withdrawn("cancelled on request"))

    assert settled is not None
    assert settled.status is JobStatus.CANCELLED


async def test_launch_isnt_lost_once_the_handler_began(scene: Scene) -> None:
    # The operator saw the pod vanish; meanwhile its runner had confirmed the start.
    claim = await scene.running(starting=False)
    await scene.store.start(claim, worker_id="pod-1", lease_seconds=60)
    before = await scene.get(claim.job_id)

    assert await scene.settle(claim, LaunchLost(error(), 0)) is None

    assert await scene.get(claim.job_id) == before


async def test_disruption_has_a_budget_of_its_own(scene: Scene) -> None:
    claim = await scene.running()
    expected = gone_round(scene, delay=5)
    lost_at = scene.clock.after(1)

    changed = await changed_by(scene, claim, Disrupted(error("preempted"), 5))

    assert changed == expected | {
        "attempt_count": 0,
        "disruptions": 1,
        "error": "preempted",
        "errors": [replace(error("preempted"), at=lost_at)],
    }


async def test_disrupted_too_often_is_the_end(scene: Scene) -> None:
    claim = await scene.running()
    for number in (1, 2):
        settled = await scene.settle(claim, Disrupted(error(), 0, max_disruptions=2))
        assert settled is not None
        assert settled.status is (JobStatus.FAILED if number == 2 else JobStatus.PENDING)
        if number < 2:
            claim = await scene.claimed_again(claim.job_id)

    assert (await scene.get(claim.job_id)).disruptions == 2


async def test_job_whose_handler_never_began_isnt_disrupted(scene: Scene) -> None:
    claim = await scene.running(starting=False)

    assert await scene.settle(claim, Disrupted(error(), 0)) is None
