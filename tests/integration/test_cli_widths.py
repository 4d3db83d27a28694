"""What people see on terminals of several widths, with real rows."""

import asyncio
import json
import re
from collections.abc import Callable

import pytest

from server_jobs import connect
from tests.support.cli import CLI_APP, Cli, process_state  # noqa: F401 - a fixture
from tests.support.databases.raw_sql import run
from tests.support.terminal import on_terminal

WIDTHS = [60, 80, 120, 200]
NAME = "SendOrderConfirmation"
REASON = "ConnectionError: the mail server mail.example.com:25 can't be reached"
PROSE = ("Pending and running, and how", "nothing was done", "whether jobs wait")
"""Sentences may be broken."""
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}")
STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

ROWS = """
INSERT INTO jobs (id, job_name, queue, status, attempt_count, max_attempts, error, completed_at)
VALUES ('{id}', '{name}', 'outgoing-mail', '{status}', 3, 3, {error}, {completed_at})
"""


@pytest.fixture
def ids() -> list[str]:
    return [f"0197a3c2-5b1e-7f{number:02}-9c3d-2a6b8e1f4d70" for number in range(8)]


@pytest.fixture
def cli(sqlite_url: str, ids: list[str]) -> Cli:
    """On a database with jobs of each end, a schedule, and a broken one."""
    cli = Cli(database_url=sqlite_url, app=f"{CLI_APP}:registry")
    cli.ok("migrate")
    for name in ("nightly-confirmation-of-orders", "hourly"):
        cli.ok("schedule", "add", name, "0 2 * * *", "Charge", "--param", "number=1")

    async def insert() -> None:
        database = connect(sqlite_url)
        reason = REASON.replace("'", "''")
        for number, job_id in enumerate(ids):
            status = ("failed", "completed", "cancelled", "pending")[number % 4]
            failed, ended = status == "failed", status != "pending"
            await run(
                database,
                ROWS.format(
                    id=job_id, name=NAME, status=status,
                    error=f"'{reason}'" if failed else "NULL",
                    completed_at="strftime('%Y-%m-%d %H:%M:%f000', 'now')" if ended else "NULL",
                ),
            )  # fmt: skip
        await run(database, "UPDATE cron_jobs SET last_decision = 'broken', last_note = "
                  f"'{reason} {reason}' WHERE name = 'hourly'")  # fmt: skip
        await database.close()

    asyncio.run(insert())
    return cli


@pytest.fixture
def shown(cli: Cli) -> Callable[..., list[str]]:
    """The lines on a terminal of so many columns, without colours."""

    def show(width: int, *arguments: str) -> list[str]:
        _, text = on_terminal(cli, *arguments, COLUMNS=str(width))
        return [line.rstrip() for line in STYLE.sub("", text).replace("\r", "").splitlines()]

    return show


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.usefixtures("process_state")
def test_list_has_a_line_for_each_job_with_its_reason_and_an_id_to_use(
    cli: Cli, shown: Callable[..., list[str]], ids: list[str], width: int
) -> None:
    headings, *rows = shown(width, "list")

    assert [row.split()[0] for row in rows] == [
        job_id if width >= 80 else job_id[:18] for job_id in reversed(ids)
    ]
    assert max(map(len, (headings, *rows))) <= width
    for row in rows:
        assert row.split()[1].rstrip("…") in NAME
        assert ("ConnectionErr" in row) is ("failed" in row)
    if width < 200:
        assert all(row.endswith("…") for row in rows if "failed" in row)
    else:
        assert all(row.endswith(REASON) for row in rows if "failed" in row)
    assert cli.json("show", rows[0].split()[0])["id"] == ids[-1]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("arguments", "headings"),
    [
        (("stats",), ("QUEUE", "JOB")),
        (("schedule", "list"), ("NAME",)),
        (("retry", "--all", "--dry-run"), ("ID",)),
    ],
    ids=["stats", "schedules", "dry-run"],
)
@pytest.mark.usefixtures("process_state")
def test_no_row_of_a_table_breaks(
    shown: Callable[..., list[str]],
    arguments: tuple[str, ...],
    headings: tuple[str, ...],
    width: int,
) -> None:
    lines = shown(width, *arguments)

    tables = [line.split()[0] for line in lines if line.isupper()]
    assert tuple(tables) == headings
    assert max(len(line) for line in lines if not line.startswith(PROSE)) <= width
    for line in lines:
        # A rest of a broken row would begin with what stands in the middle of one.
        assert not line.startswith(("failed", "cancelled", REASON[-10:]))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.usefixtures("process_state")
def test_watched_jobs_end_in_a_line_each_with_the_reason(
    shown: Callable[..., list[str]], ids: list[str], width: int
) -> None:
    lines = shown(width, "watch", ids[0], ids[1], ids[2])

    # The last drawing is what stays.
    rows = [line for line in lines if ID.match(line)][-3:]
    assert [row[:18] for row in rows] == [job_id[:18] for job_id in ids[:3]]
    assert max(map(len, rows)) <= width
    assert "Connection" in rows[0]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.usefixtures("process_state")
def test_long_texts_of_doctor_and_show_are_wrapped_beside_their_labels(
    shown: Callable[..., list[str]], ids: list[str], width: int
) -> None:
    doctor, show = shown(width, "doctor"), shown(width, "show", ids[0])

    assert all(line.startswith(("OK", "WARN", "FAIL", " " * 19)) for line in doctor)
    assert max(map(len, doctor)) <= width
    error = next(number for number, line in enumerate(show) if line.startswith("error"))
    whole = " ".join(line.strip() for line in show[error : error + 3])
    assert REASON in whole
    assert show[error].startswith("error         ConnectionError")
    if width == 60:
        assert show[error + 1].startswith(" " * 14)


@pytest.mark.usefixtures("process_state")
def test_pipe_has_whole_lines_whatever_the_width(cli: Cli, ids: list[str]) -> None:
    _, *rows = cli.ok("list").splitlines()

    assert [row.split()[0] for row in rows] == ids[::-1]
    assert sum(row.endswith(REASON) for row in rows) == 2
    assert json.loads(cli.ok("list", "--json"))[0]["id"] == ids[-1]
