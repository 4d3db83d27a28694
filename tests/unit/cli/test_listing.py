"""What ``server-jobs list`` shows in how much room."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from server_jobs.cli.job_list import job_lines
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


MANY = [
    replace(SOME, id=f"0197a3c2-5b1e-7f{number:02}-9c3d-2a6b8e1f4d70", status=status, error=error)
    for number, (status, error) in enumerate(
        [
            (JobStatus.FAILED, ERROR),
            (JobStatus.COMPLETED, None),
            (JobStatus.CANCELLED, "ValueError: a message\nof two lines"),
            (JobStatus.PENDING, None),
        ]
    )
]


def lines(width: int | None, **changes: object) -> list[str]:
    return table([replace(SOME, **changes)], width)  # type: ignore[arg-type]


def table(records: list[JobRecord], width: int | None) -> list[str]:
    return [line.plain for line in job_lines(records, width, now=NOW)]


@pytest.mark.parametrize("width", [20, 25, 30, 40, 60, 61, 70, *range(79, 300, 5)])
@pytest.mark.parametrize("records", [[SOME], MANY], ids=["one", "many"])
def test_each_job_takes_one_line_that_fits(width: int, records: list[JobRecord]) -> None:
    headings, *rows = table(records, width)

    assert headings.startswith("ID")
    assert len(rows) == len(records)
    assert max(map(len, (headings, *rows))) <= width
    assert not any("\n" in row for row in rows)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_from_eighty_columns_on_ids_are_whole_and_reasons_are_shown(width: int) -> None:
    headings, *rows = table(MANY, width)

    assert [row.split()[0] for row in rows] == [record.id for record in MANY]
    assert headings.endswith("NOTE")
    assert "ConnectionErr" in rows[0]
    assert rows[0].endswith("…")
    assert len(rows[0]) == width
    assert "ValueError: a" in rows[2]


def test_eighty_columns_have_the_name_the_status_and_the_reason() -> None:
    assert lines(80) == [
        f"{'ID':36}  {'JOB':15}  STATUS  NOTE",
        f"{ID}  SendConfirmati…  failed  ConnectionError:…",
    ]


def test_sixty_columns_have_a_beginning_of_the_id_that_other_commands_take() -> None:
    assert lines(60) == [
        f"{'ID':18}  {'JOB':13}  STATUS  NOTE",
        "0197a3c2-5b1e-7f04  SendConfirma…  failed  ConnectionError:…",
    ]


def test_ids_that_begin_alike_stay_whole() -> None:
    alike = [replace(SOME, id=f"{ID[:-1]}{last}") for last in "01"]

    assert [row.split()[0] for row in table(alike, 60)[1:]] == [job.id for job in alike]


def test_another_days_moment_is_shortened_to_its_date() -> None:
    _, today = lines(80, error=None)
    _, tomorrow = lines(80, error=None, scheduled_for=NOW + timedelta(days=1))

    assert today.endswith("12:30")
    assert tomorrow.endswith("03-05")


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
