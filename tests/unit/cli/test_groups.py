"""What the groups' help lists is what each command says of itself."""

import inspect

import pytest
import typer

from server_jobs.cli.app import Commands, app
from server_jobs.cli.commands.schedule.group import ScheduleCommands, group
from server_jobs.cli.groups import LazyGroup
from tests.support.cli import Cli, process_state  # noqa: F401 - a fixture

LISTS: list[tuple[typer.Typer, type[LazyGroup], tuple[str, ...]]] = [
    (app, Commands, ()),
    (group, ScheduleCommands, ("schedule",)),
]


COMMANDS = [
    (typer_app, commands_of, name)
    for typer_app, commands_of, _ in LISTS
    for name in commands_of.listed
]


@pytest.mark.parametrize(("typer_app", "commands_of", "name"), COMMANDS)
def test_line_in_the_list_is_the_first_paragraph_of_the_commands_help(
    typer_app: typer.Typer, commands_of: type[LazyGroup], name: str
) -> None:
    loaded_group = typer.main.get_command(typer_app)
    assert isinstance(loaded_group, commands_of)

    command = loaded_group.get_command(typer.Context(loaded_group), name)

    first, _, _ = inspect.cleandoc(command.help).partition("\n\n")
    assert " ".join(first.split()) == commands_of.listed[name].help


@pytest.mark.parametrize(("typer_app", "commands_of", "words"), LISTS)
def test_list_has_every_command_with_its_line_in_its_panel(
    typer_app: typer.Typer,
    commands_of: type[LazyGroup],
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")

    lines = [line.strip("│ ") for line in Cli().ok(*words, "--help").splitlines()]

    panel = ""
    panels: dict[str, str] = {}
    for line in lines:
        if line.startswith("╭─ "):
            panel = line.strip("╭─╮ ")
        panels[" ".join(line.split())] = panel
    for name, listed in commands_of.listed.items():
        assert panels[f"{name} {listed.help}"] == (listed.panel or "Commands")


def test_misspelt_command_suggests_the_right_one() -> None:
    said = Cli()("lst")

    assert said.exit_code == 2
    assert "list" in said.stderr
