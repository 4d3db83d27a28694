"""The configuration page has every flag, variable and URL option, and none that isn't there."""

import re
from argparse import ArgumentParser
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer import Context

from server_jobs.cli.app import app
from server_jobs.cli.commands.run import parser
from server_jobs_operator.cli import app as operator_app
from tests.support.pages.markdown import ROOT, codes, tables

PAGE = ROOT / "docs" / "configuration.md"
KUBERNETES = ROOT / "docs" / "kubernetes.md"
COMMAND = typer.main.get_command(app)
OPERATOR: Any = typer.main.get_command(operator_app)
# Typer's own, about the shell and not about jobs.
OF_TYPER = {"--install-completion", "--show-completion", "--help"}


def options_of(command: Any) -> dict[str, Any]:
    return {
        option.opts[0]: option
        for option in command.params
        if option.param_type_name == "option" and option.opts[0] not in OF_TYPER
    }


def within(group: Any) -> dict[str, Any]:
    """The commands of a group, by name; none where it is a command."""
    if not hasattr(group, "list_commands"):
        return {}
    context = Context(group, info_name=group.name)
    return {name: group.get_command(context, name) for name in group.list_commands(context)}


def commands() -> dict[str, Any]:
    found = {"For all of them": COMMAND}
    for name, command in within(COMMAND).items():
        found |= {f"{name} {of}": it for of, it in within(command).items()} or {name: command}
    # The one whose options aren't Typer's: every pod begins with it.
    return found | {"run": _as_command(parser())}


def _as_command(parser: ArgumentParser) -> Any:
    return SimpleNamespace(
        params=[
            SimpleNamespace(
                param_type_name="option",
                opts=action.option_strings,
                secondary_opts=[],
                envvar=next(iter(re.findall(r"\((SERVER_JOBS_\w+)\)", action.help or "")), None),
                default=action.default,
            )
            for action in parser._actions
            if "--help" not in action.option_strings
        ]
    )


def _variables(option: Any) -> list[str]:
    """Its own variable first, then those of other tools that are understood."""
    return [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())


@pytest.mark.parametrize("name", commands())
def test_flags_of_a_command_are_documented_with_variable_and_default(name: str) -> None:
    options = options_of(commands()[name])
    (table,) = tables(PAGE)[name]
    documented = {codes(row["flag"])[0]: row for row in table}

    assert set(documented) == set(options)
    for flag, option in options.items():
        row = documented[flag]
        assert codes(row["variable"]) == _variables(option)[:1], flag
        if option.default is False:
            assert row["default"] in {"off", ""}, flag
        elif option.default is True:
            assert row["default"] == "on", flag
        elif option.default not in {None, ""}:
            default = getattr(option.default, "value", option.default)
            assert codes(row["default"]) == [str(default)], flag


def test_flags_of_the_operator_are_documented_with_variable_and_default() -> None:
    options = options_of(OPERATOR.commands["run"])
    (table,) = tables(KUBERNETES)["The operator's flags"]
    documented = {codes(row["flag"])[0]: row for row in table}

    assert set(documented) == set(options)
    for flag, option in options.items():
        row = documented[flag]
        assert codes(row["variable"]) == [option.envvar], flag
        if isinstance(option.default, bool):
            assert row["default"] == ("on" if option.default else "off"), flag
        elif option.default not in {None, ""}:
            default = getattr(option.default, "value", option.default)
            assert codes(row["default"]) == [str(default)], flag


def test_variables_of_the_code_are_those_of_the_page() -> None:
    sources = (ROOT / "runner" / "server_jobs").rglob("*.py")
    used = {
        name
        for source in sources
        for name in re.findall(r"SERVER_JOBS_[A-Z_]*[A-Z]", source.read_text(encoding="utf-8"))
    }
    documented = {
        name
        for below in tables(PAGE).values()
        for table in below
        for row in table
        for name in codes(row.get("variable", ""))
    }

    assert documented == used


@pytest.mark.parametrize("page", ["README.md", "docs/cli.md", "docs/workers.md"])
def test_flags_that_other_pages_mention_are_there(page: str) -> None:
    known = {
        spelling
        for command in commands().values()
        for param in command.params
        for spelling in (*param.opts, *param.secondary_opts)
    }
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / page).read_text("utf-8")))

    assert mentioned - known - OF_TYPER == set()


def test_workers_flags_in_the_readme_are_complete() -> None:
    (table,) = tables(ROOT / "README.md")["The worker"]

    assert {codes(row["flag"])[0] for row in table} == set(options_of(commands()["worker"]))
