"""``server-jobs schedule`` on real databases."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from server_jobs import connect
from server_jobs.schedules import ScheduleStore
from tests.support.cli import CLI_APP, Cli, process_state  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("process_state")

HOURLY = ("schedule", "add", "hourly", "0 * * * *", "Charge", "--param", "number=1")


@pytest.fixture
def cli(database_url: str) -> Cli:
    cli = Cli(database_url=database_url, app=f"{CLI_APP}:registry")
    cli.ok("migrate")
    cli.ok(*HOURLY, "--param", "card=4111")
    return cli


def put_managed_by(url: str, source: str) -> None:
    """A schedule ``theirs`` like the one that is there, of another source."""

    async def run() -> None:
        database = connect(url)
        try:
            schedules = ScheduleStore(database)
            ours: Any = await schedules.get("hourly")
            await schedules.put(replace(ours, name="theirs", managed_by=source))
        finally:
            await database.close()

    asyncio.run(run())


def test_secrets_of_a_schedule_are_never_shown(cli: Cli) -> None:
    for command in (("list", "--json"), ("show", "hourly"), ("show", "hourly", "--json")):
        assert "4111" not in cli.ok("schedule", *command)


def test_name_that_is_taken_is_refused_unless_replaced(cli: Cli) -> None:
    changed = ("schedule", "add", "hourly", "5 * * * *", "Charge", "--param", "number=2")

    refused = cli(*changed)
    assert (refused.exit_code, "--replace" in refused.stderr) == (2, True)
    assert cli.json("schedule", "show", "hourly")["cron_expression"] == "0 * * * *"

    cli.ok(*changed, "--replace")
    assert cli.json("schedule", "show", "hourly")["cron_expression"] == "5 * * * *"


@pytest.mark.parametrize(
    "wrong",
    [
        ("0 0 30 2 *", "Charge", "--param", "number=1"),
        ("0 * * * *", "Chrage", "--param", "number=1"),
        ("0 * * * *", "Charge", "--param", "number=one"),
        ("0 * * * *", "Charge", "--param", "number=1", "--time-zone", "Europe/Zurihc"),
    ],
    ids=["never", "job", "params", "zone"],
)
def test_what_is_wrong_is_refused_where_it_enters(cli: Cli, wrong: tuple[str, ...]) -> None:
    assert cli("schedule", "add", "wrong", *wrong).exit_code == 2
    assert [found["name"] for found in cli.json("schedule", "list")] == ["hourly"]


def test_wrong_name_suggests_a_close_one(cli: Cli) -> None:
    refused = cli("schedule", "show", "hourli")

    assert refused.exit_code == 1
    assert "did you mean 'hourly'?" in refused.stderr


def test_switch_of_code_is_ours_and_that_of_others_is_not(cli: Cli) -> None:
    put_managed_by(cli.settings["database_url"], "crd:shop/theirs")

    cli.ok("schedule", "disable", "hourly")
    refused = cli("schedule", "disable", "hourly", "theirs")

    assert refused.exit_code == 1
    assert "spec.suspend" in refused.stderr
    assert cli.json("schedule", "show", "theirs")["enabled"]
    assert not cli.json("schedule", "show", "hourly")["enabled"]


def test_schedule_of_code_is_removed_only_once_it_is_off(cli: Cli) -> None:
    put_managed_by(cli.settings["database_url"], "code:shop")

    refused = cli("schedule", "remove", "theirs", "--yes")
    assert refused.exit_code == 1
    assert "--prune-schedules" in refused.stderr

    cli.ok("schedule", "disable", "theirs")
    cli.ok("schedule", "remove", "theirs", "--yes")
    assert [found["name"] for found in cli.json("schedule", "list")] == ["hourly"]


def test_run_now_prints_the_id_of_its_job(cli: Cli) -> None:
    assert cli.json("show", cli.ok("schedule", "run-now", "hourly"))["job_name"] == "Charge"


def test_backfill_given_again_makes_what_is_missing_only(cli: Cli) -> None:
    backfill = ("schedule", "backfill", "hourly", "--yes", "--from", "2026-03-01", "--to")

    assert len(cli.json(*backfill, "2026-03-01T03:00", "--dry-run")["fire_times"]) == 3
    assert cli.json("list") == []
    assert len(cli.json(*backfill, "2026-03-01T03:00")["job_ids"]) == 3
    assert len(cli.json(*backfill, "2026-03-01T05:00")["job_ids"]) == 2
    assert cli(*backfill, "2999-01-01").exit_code == 2


@pytest.mark.parametrize(
    ("since", "expression", "note"),
    [
        ("2026-03-28", "30 2 * * *", "02:30 doesn't exist on this day: fires at 03:00"),
        ("2026-10-24", "30 2 * * *", "02:00–03:00 comes twice: fires the first time"),
        ("2026-10-25T01:00", "0 * * * *", "it follows elapsed time"),
    ],
)
def test_explain_notes_changes_of_the_clock_without_a_database(
    since: str, expression: str, note: str
) -> None:
    explained = Cli().ok(
        "schedule", "explain", expression, "--time-zone", "Europe/Zurich", "--from", since
    )

    assert explained.count(note) == 1
