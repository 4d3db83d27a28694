"""What ``server-jobs list`` shows in how much room."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from server_jobs.cli.job_list import Listing
from server_jobs.cli.output import percent
from server_jobs.records.rows import JobRecord
from server_jobs.records.status import JobStatus

NOW = datetime(2026, 3, 4, 12, 30, 15, tzinfo=UTC)
ID = "0197a3c2-5b1e-7f04-9c3d-2a6b8e1f4d70"
ERROR = "ConnectionError: the mail server mail.example.com:25 can't be reached " * 3

SOME = JobRecord(
    id=ID, job_name="SendConfirmation", queue="outgoing-mail", priority=0, params="{}",
    result=None, status=JobStatus.FAILED, ready=False, progress=0.0, progress_message=None,
    error=ERROR, errors="[]", attempt_count=3, max_attempts=3, retry_policy=None,
    scheduled_for=NOW, timeout_seconds=None, fence=3, worker_id=None, worker_started_at=None,
    worker_expires_at=None, handler_started_at=None, cancel_requested_at=None, launch_failures=0,
    release_count=0, disruptions=0, unique_key=None, correlation_id=None, cron_job_id=None,
    cron_fire_at=None, runtime=None, created_at=NOW, updated_at=NOW, completed_at=None,
)  # fmt: skip


def lines(width: int | None, **changes: object) -> list[str]:
    record = replace(SOME, **changes)  # type: ignore[arg-type]
    return [line.plain for line in Listing([record], now=NOW).lines(width)]


@pytest.mark.parametrize("width", range(80, 300, 5))
@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.COMPLETED])
def test_line_fits_and_keeps_what_matters_most(width: int, status: JobStatus) -> None:
    heading, line = lines(width, status=status)

    assert max(len(heading), len(line)) <= width
    assert line.split()[:3] == [ID, "SendConfirmation", status.value]


def test_eighty_columns_leave_out_notes_and_queues_of_long_names() -> None:
    assert [text.split() for text in lines(80)] == [
        ["ID", "JOB", "STATUS", "TRY", "DUE"],
        [ID, "SendConfirmation", "failed", "3/3", "12:30"],
    ]


def test_another_days_moment_is_shortened_to_its_date() -> None:
    _, line = lines(80, scheduled_for=NOW + timedelta(days=1))

    assert line.endswith("03-05")


def test_note_is_cut_before_anything_else() -> None:
    _, line = lines(140)

    assert "outgoing-mail" in line
    assert "2026-03-04 12:30:15" in line
    assert line.endswith("…")
    assert len(line) == 140


def test_very_long_name_is_cut_rather_than_the_id() -> None:
    _, line = lines(80, job_name="x" * 200)

    assert line.startswith(f"{ID}  xxxxxxxxxxxx")
    assert "…" in line
    assert len(line) <= 80


def test_without_a_terminal_nothing_is_cut() -> None:
    _, line = lines(None, job_name="x" * 200, queue="q" * 90)

    assert "…" not in line
    assert "x" * 200 in line
    assert "q" * 90 in line
    assert line.endswith(ERROR.strip())


@pytest.mark.parametrize(
    ("progress", "shown"),
    [(0, "0 %"), (100 / 12, "8 %"), (28.999999999999996, "29 %"), (99.9, "99 %"), (100, "100 %")],
)
def test_progress_is_rounded_but_complete_only_at_its_end(progress: float, shown: str) -> None:
    assert percent(progress) == shown
