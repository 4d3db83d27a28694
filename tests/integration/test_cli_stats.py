"""``server-jobs stats``."""

import json

import pytest

from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture

APP = "tests.support.cli_app:registry"

pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture
def cli(database_url: str) -> Cli:
    """On a migrated database."""
    cli = Cli(app=APP, database_url=database_url)
    cli.ok("migrate")
    return cli


def without_app(cli: Cli) -> Cli:
    return Cli(database_url=cli.settings["database_url"])


def charge(cli: Cli, number: int, *options: str) -> None:
    cli.ok(
        "enqueue", "Charge", "--params-json", json.dumps({"number": number}),
        "--max-attempts", "1", *options,
    )  # fmt: skip


@pytest.fixture
def busy(cli: Cli) -> Cli:
    """Three jobs that completed, one that failed, one that is due and one that isn't."""
    for number in (1, 2, 3, 13):
        charge(cli, number)
    cli.ok("worker", "--drain")
    charge(cli, 4, "--queue", "mail")
    charge(cli, 5, "--queue", "mail", "--delay", "3600")
    return cli


def test_figures_as_json(busy: Cli) -> None:
    figures = busy.json("stats")

    (queue,) = figures["queues"]
    assert queue.pop("oldest_due_seconds") >= 0
    assert queue == {"queue": "mail", "due": 1, "later": 1, "running": 0, "expired": 0}
    (live,) = figures["live"]
    assert (live["job_name"], live["due"], live["unknown"]) == ("Charge", 1, False)
    assert [(e["status"], e["count"]) for e in figures["ended"]] == [
        ("completed", 3),
        ("failed", 1),
    ]
    assert 0 <= figures["ended"][0]["p50_seconds"] <= figures["ended"][0]["longest_seconds"]
    assert figures["failure_rate"] == {"Charge": 0.25}
    assert figures["since_seconds"] == 86_400
    assert figures["unknown_job_names"] == []


def test_figures_for_people(busy: Cli) -> None:
    lines = [line.split() for line in busy.ok("stats").splitlines()]

    assert ["QUEUE", "DUE", "LATER", "RUNNING", "EXPIRED", "OLDEST", "DUE"] in lines
    assert ["mail", "1", "1", "0", "0"] in [line[:5] for line in lines]
    assert ["Charge", "2", "0", "3", "1", "0", "25.0"] in [line[:7] for line in lines]


@pytest.mark.parametrize(
    ("options", "queues", "ended"),
    [
        (("--queue", "mail"), 1, 0),
        (("--queue", "default"), 0, 4),
        (("--name", "Charge"), 1, 4),
        (("--name", "Sleep"), 0, 0),
        (("--since", "0"), 1, 0),
        (("--since", "forever"), 1, 4),
    ],
)
def test_figures_are_narrowed_down(
    busy: Cli, options: tuple[str, ...], queues: int, ended: int
) -> None:
    figures = busy.json("stats", *options)

    assert len(figures["queues"]) == queues
    assert sum(jobs["count"] for jobs in figures["ended"]) == ended


def test_names_that_the_app_does_not_have_are_pointed_out(cli: Cli) -> None:
    cli.ok("enqueue", "Sleep", "--params-json", '{"seconds": 0}')
    others = Cli(app="tests.support.processes.app:registry", **without_app(cli).settings)

    assert "the app doesn't have: Sleep" in others.ok("stats")
    assert others.json("stats")["unknown_job_names"] == ["Sleep"]
    assert "doesn't have" not in cli.ok("stats")


def test_without_an_app_unknown_names_cannot_be_told(busy: Cli) -> None:
    result = without_app(busy)("stats")

    assert "without --app, stats can't tell" in result.stderr
    assert "--app" not in result.stdout
    assert without_app(busy).json("stats")["unknown_job_names"] is None
    assert without_app(busy).json("stats")["live"][0]["unknown"] is None


def test_empty_table_says_so(cli: Cli) -> None:
    assert cli.ok("stats") == "no jobs, of those enqueued in the last 1 d"
    assert cli.json("stats")["queues"] == cli.json("stats")["ended"] == []


def test_time_that_is_none_is_a_usage_error(cli: Cli) -> None:
    result = cli("stats", "--since", "yesterday")

    assert result.exit_code == 2
    assert "--since" in result.stderr
