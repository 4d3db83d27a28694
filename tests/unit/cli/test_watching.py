"""What counts as a change of a watched job, and as its end."""

from dataclasses import replace
from datetime import UTC, datetime

from server_jobs.cli.views import Watched
from server_jobs.records.rows import JobSummary
from server_jobs.records.status import JobStatus

SOME = JobSummary(
    id="0197a3c2-5b1e-7f04-9c3d-2a6b8e1f4d70", job_name="Charge", queue="default",
    status=JobStatus.RUNNING, progress=0.0, progress_message=None, error=None, attempt_count=1,
    max_attempts=3, scheduled_for=datetime(2026, 3, 4, tzinfo=UTC), worker_id="worker",
    unique_key=None, cancel_requested_at=None, completed_at=None,
)  # fmt: skip
OTHER = replace(SOME, id="0197a3c2-5b1e-7f04-9c3d-2a6b8e1f4d71")
DONE = replace(SOME, status=JobStatus.COMPLETED, progress=100.0)


def test_first_look_is_news_and_a_second_at_the_same_is_none() -> None:
    watched = Watched()

    assert [change.job for change in watched.look([SOME, OTHER])] == [SOME, OTHER]
    assert watched.look([SOME, OTHER]) == []
    assert watched.live == [SOME.id, OTHER.id]


def test_progress_is_news_and_a_heartbeats_worker_is_not() -> None:
    watched = Watched()
    watched.look([SOME])

    assert watched.look([replace(SOME, worker_id="another")]) == []
    (change,) = watched.look([replace(SOME, progress=50.0)])
    assert not change.ended


def test_job_that_was_looked_for_and_not_found_is_gone_and_has_not_completed() -> None:
    watched = Watched()
    watched.look([SOME, OTHER])

    (change,) = watched.look([DONE], asked=[SOME.id, OTHER.id])[1:]

    assert (change.job, change.word, change.ended) == (OTHER, "gone", True)
    assert watched.live == []
    assert not watched.all_completed
    assert watched.look([], asked=[]) == []


def test_all_completed_is_what_the_exit_status_tells() -> None:
    for end, good in ((DONE, True), (replace(SOME, status=JobStatus.FAILED), False)):
        watched = Watched()
        watched.look([SOME, replace(DONE, id=OTHER.id)])
        assert not watched.all_completed
        watched.look([end])
        assert watched.all_completed is good


def test_watch_without_end_keeps_only_what_runs() -> None:
    watched = Watched()
    watched.look([SOME, replace(DONE, id=OTHER.id)])

    watched.forget_what_does_not_run()

    assert watched.counts() == {"running": 1}
