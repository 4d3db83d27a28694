"""What is done about a launch: each way in which a row and its Kubernetes Job may stand."""

from datetime import timedelta
from typing import Any

import pytest

from server_jobs import JobStatus
from server_jobs.records.outcomes import Abandoned, Disrupted, Failed, LaunchLost, Withdrawn
from server_jobs.records.rows import Claim
from server_jobs_operator.cluster.known_job import KnownJob
from server_jobs_operator.cluster.reasons import Reason
from server_jobs_operator.launches.judge import LEAVING_SECONDS, NOTHING, Judgement, judge
from tests.operator.samples import (
    JOB_ID,
    NOW,
    begun,
    condition,
    gone,
    ill,
    job,
    launch,
    pod,
    settled,
    spec,
)

FAILED = condition("Failed", "BackoffLimitExceeded")
COMPLETE = condition("Complete")


def judged(known: KnownJob | None, row: Any, *, moment: float = 0.0, **more: Any) -> Judgement:
    more = {"now": NOW, **more}
    return judge(known, row, spec(launchPatienceSeconds=30), moment=moment, **more)


# ── while all is well ────────────────────────────────────────────────────────────────────────


def test_a_begun_job_is_left_alone() -> None:
    assert judged(job(), begun()) == NOTHING


def test_an_unstarted_one_is_looked_at_again_when_its_launch_takes_too_long() -> None:
    judgement = judged(job(), launch(), now=NOW + timedelta(seconds=100))

    assert judgement == Judgement(again=800.0)


def test_a_suspended_one_may_wait_for_ever() -> None:
    late = NOW + timedelta(days=1)

    assert judged(job(suspend=True), launch(), now=late) == NOTHING


def test_what_was_found_while_it_is_suspended_costs_no_launch() -> None:
    known = ill(job(suspend=True), Reason.EXIT_CODE)

    assert judged(known, launch()) == NOTHING


def test_the_time_to_launch_begins_anew_when_it_is_resumed() -> None:
    known = job(started_at=NOW + timedelta(hours=2))

    judgement = judged(known, launch(), now=NOW + timedelta(hours=2, seconds=100))

    assert judgement == Judgement(again=800.0)


def test_until_kubernetes_has_resumed_it_there_is_no_time_to_launch() -> None:
    known = job(condition("Suspended"), suspend=False)

    assert judged(known, launch(), now=NOW + timedelta(hours=2)) == NOTHING


# ── once the record is settled ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.PENDING])
def test_the_job_of_a_settled_record_may_go_once_it_is_over(status: JobStatus) -> None:
    assert judged(job(COMPLETE), begun(status=status)) == Judgement(expire=True)


def test_a_pod_may_leave_in_peace_once_its_record_is_settled() -> None:
    over = begun(status=JobStatus.COMPLETED)

    assert judged(settled(job(), 10.0), over, moment=12.0).again == LEAVING_SECONDS - 2
    assert judged(settled(job(), 10.0), over, moment=10.0 + LEAVING_SECONDS).delete


def test_the_job_of_a_cancelled_record_is_deleted_at_once() -> None:
    assert judged(settled(job(), 0.0), begun(status=JobStatus.CANCELLED)) == Judgement(delete=True)


def test_a_job_without_a_record_is_deleted() -> None:
    assert judged(job(), None) == Judgement(delete=True)
    assert judged(None, None) == NOTHING


def test_a_job_of_an_older_claim_is_deleted_unless_it_is_over() -> None:
    older = Claim(JOB_ID, 1)

    assert judged(job(claim=older), launch()) == Judgement(delete=True)
    assert judged(job(FAILED, claim=older), launch()) == Judgement(expire=True)


# ── cancellation ─────────────────────────────────────────────────────────────────────────────


def test_an_unstarted_job_is_cancelled_at_once() -> None:
    judgement = judged(job(), launch(cancel_requested_at=NOW))

    assert isinstance(judgement.outcome, Withdrawn)  # which a start that crosses it refuses
    assert judgement.delete


def test_a_begun_one_is_told_to_end_and_its_runner_writes_that() -> None:
    judgement = judged(job(), begun(cancel_requested_at=NOW))

    assert judgement.outcome is None
    assert judgement.delete


def test_a_begun_one_is_cancelled_once_its_pod_has_had_the_time_to_end() -> None:
    known, row = gone(job(), 10.0), begun(cancel_requested_at=NOW)
    over = 10.0 + 30 + LEAVING_SECONDS

    assert judged(known, row, moment=12.0, gone=True) == Judgement(again=over - 12.0)
    judgement = judged(known, row, moment=over, gone=True)
    assert isinstance(judgement.outcome, Abandoned)
    assert not judgement.delete


def test_an_unstarted_one_needs_no_time_to_end() -> None:
    judgement = judged(gone(job(), 10.0), launch(cancel_requested_at=NOW), moment=10.0, gone=True)

    assert isinstance(judgement.outcome, Withdrawn)


# ── the time to end ──────────────────────────────────────────────────────────────────────────


def test_a_job_that_was_never_seen_is_missed_as_long_as_one_that_was_deleted() -> None:
    judgement = judged(None, begun(), moment=12.0, missing_since=10.0)

    assert judgement == Judgement(again=28.0 + LEAVING_SECONDS)
    assert judged(None, begun(), moment=60.0, missing_since=10.0).reason is Reason.LOST


def test_where_the_job_runner_is_gone_the_pod_says_how_long_it_may_take_to_end() -> None:
    known = gone(job(pods={"p": pod() | {"spec": {"terminationGracePeriodSeconds": 605}}}))

    judgement = judge(known, begun(), None, now=NOW, moment=0.0, gone=True)

    assert judgement == Judgement(again=605 + LEAVING_SECONDS)


@pytest.mark.parametrize(("reason", "waits"), [(Reason.EVICTED, True), (Reason.EXIT_CODE, False)])
def test_a_pod_that_is_taken_down_may_not_have_ended(reason: Reason, waits: bool) -> None:
    judgement = judged(gone(ill(job(), reason)), begun(), gone=True)

    assert (judgement.outcome is None) is waits


# ── before the handler began ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("known", "reason"),
    [(job(FAILED), Reason.LOST), (job(COMPLETE), Reason.NOT_SETTLED), (None, Reason.LOST)],
)
def test_a_launch_that_ended_costs_a_launch(known: KnownJob | None, reason: Reason) -> None:
    judgement = judged(known, launch())

    assert isinstance(judgement.outcome, LaunchLost)
    assert judgement.reason is reason
    assert judgement.outcome.max_failures == 10


def test_a_final_finding_ends_the_launch() -> None:
    judgement = judged(ill(job(), Reason.CONFIG_ERROR), launch())

    assert isinstance(judgement.outcome, LaunchLost)
    assert (judgement.reason, judgement.delete) == (Reason.CONFIG_ERROR, True)
    assert judgement.outcome.error.type == "config_error"


def test_what_may_pass_is_waited_for_with_patience() -> None:
    known = ill(job(), Reason.IMAGE_PULL, final=False, since=100.0)

    assert judged(known, launch(), moment=110.0) == Judgement(again=20.0)
    assert judged(known, launch(), moment=130.0).reason is Reason.IMAGE_PULL


def test_a_pod_without_a_node_is_waited_for_as_long_as_a_launch_may_take() -> None:
    known = ill(job(), Reason.UNSCHEDULABLE, final=False)
    late = NOW + timedelta(seconds=900)

    assert judged(known, launch(), moment=500.0).outcome is None
    assert judged(known, launch(), now=late, moment=900.0).reason is Reason.UNSCHEDULABLE


def test_a_launch_that_takes_too_long_says_so() -> None:
    judgement = judged(job(), launch(), now=NOW + timedelta(seconds=900))

    assert isinstance(judgement.outcome, LaunchLost)
    assert judgement.reason is Reason.NOT_STARTED
    assert "didn't begin within 900 s; see the pod's log" in judgement.outcome.error.message
    assert judgement.delete


def test_launches_are_put_off_longer_each_time() -> None:
    delays = [
        judged(job(FAILED), launch(launch_failures=failures)).outcome.delay_seconds  # type: ignore[union-attr]
        for failures in range(3)
    ]

    assert delays == [10, 20, 40]


# ── after it began ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reason", [Reason.OOM_KILLED, Reason.EXIT_CODE, Reason.DEADLINE])
def test_a_pod_that_went_wrong_costs_an_attempt(reason: Reason) -> None:
    judgement = judged(ill(job(FAILED), reason), begun())

    assert isinstance(judgement.outcome, Failed)
    assert (judgement.reason, judgement.outcome.error.attempt) == (reason, 1)


@pytest.mark.parametrize("reason", [Reason.EVICTED, Reason.PREEMPTED])
def test_what_the_platform_took_down_costs_a_disruption(reason: Reason) -> None:
    judgement = judged(ill(job(FAILED), reason), begun())

    assert isinstance(judgement.outcome, Disrupted)


@pytest.mark.parametrize("known", [None, job()])
def test_a_begun_job_whose_pod_ended_without_a_word_is_lost(known: KnownJob | None) -> None:
    judgement = judged(known, begun(), gone=True)

    assert isinstance(judgement.outcome, Failed)
    assert judgement.reason is Reason.LOST


def test_a_pod_that_ended_well_and_settled_nothing_may_have_had_another_database() -> None:
    judgement = judged(job(COMPLETE), begun())

    assert isinstance(judgement.outcome, Failed)
    assert judgement.reason is Reason.NOT_SETTLED
    assert "probably names another database" in judgement.outcome.error.message


def test_a_finding_that_may_pass_explains_no_end() -> None:
    known = ill(job(FAILED), Reason.IMAGE_PULL, final=False)

    assert judged(known, launch()).reason is Reason.LOST


def test_the_rows_own_retry_policy_says_when_it_runs_again() -> None:
    policy = '{"base_seconds": 7, "factor": 1, "max_seconds": 7, "jitter": false}'

    judgement = judged(job(FAILED), begun(retry_policy=policy))

    assert isinstance(judgement.outcome, Failed)
    assert judgement.outcome.delay_seconds == 7


def test_where_the_job_runner_is_gone_the_defaults_hold() -> None:
    judgement = judge(job(FAILED), launch(), None, now=NOW, moment=0.0)

    assert isinstance(judgement.outcome, LaunchLost)
    assert judgement.outcome.max_failures == 10


def test_a_handler_that_ends_like_a_runner_without_its_tables_has_an_exit_code() -> None:
    known = ill(job(FAILED), Reason.SCHEMA_MISMATCH)

    assert judged(known, begun()).reason is Reason.EXIT_CODE
    assert judged(known, launch()).reason is Reason.SCHEMA_MISMATCH
