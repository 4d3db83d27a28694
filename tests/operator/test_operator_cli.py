"""The operator's command line: what is set wrongly is named as it was set."""

import pytest
from typer.testing import CliRunner

from server_jobs_operator.cli import app
from tests.support.cli import process_state  # noqa: F401 - a fixture

# `run` sets up logging for its process, and a later test would write to the output of this one.
pytestmark = pytest.mark.usefixtures("process_state")

URL = {"SERVER_JOBS_DATABASE_URL": "postgresql://app@127.0.0.1:1/app"}


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--lease", "5"),
        ("--max-jobs", "0"),
        ("--creates-per-second", "0"),
        ("--poll-interval", "0"),
    ],
)
def test_a_setting_out_of_bounds_is_named_by_its_flag(flag: str, value: str) -> None:
    said = CliRunner().invoke(app, ["run", flag, value], env=URL)

    assert said.exit_code != 0
    assert f"{flag}={value}" in f"{said.output}{said.exception}"


def test_an_id_that_is_no_label_is_refused() -> None:
    said = CliRunner().invoke(app, ["run", "--install-id", "mine, and mine alone"], env=URL)

    assert said.exit_code != 0
    assert (
        "--install-id 'mine, and mine alone' can't be a label" in f"{said.output}{said.exception}"
    )


def test_without_an_id_it_is_asked_for() -> None:
    said = CliRunner().invoke(app, ["run", "--lease", "60"], env=URL | {"KUBECONFIG": "/nowhere"})

    assert said.exit_code != 0
    assert "can't be a label" not in f"{said.output}{said.exception}"


def test_every_flag_says_what_it_is_for() -> None:
    import typer

    for command in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        for option in command.params:
            assert getattr(option, "help", None), f"{command.name} {option.opts}"
