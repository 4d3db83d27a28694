"""The configuration page has every flag, variable and URL option, and none that isn't there."""

import re
import tomllib
from argparse import ArgumentParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from server_jobs.cli.commands.run import SETTINGS as RUN_SETTINGS
from server_jobs.cli.commands.run import parser
from server_jobs.cli.commands.worker import SETTINGS as WORKER_SETTINGS
from server_jobs_operator.cli import app as operator_app
from tests.support.pages.markdown import ROOT, codes, tables
from tools import option_tables
from tools.option_tables import OF_TYPER

PAGE = ROOT / "docs" / "configuration.md"
KUBERNETES = ROOT / "docs" / "kubernetes.md"
OPERATOR: Any = typer.main.get_command(operator_app)


def options_of(command: Any) -> dict[str, Any]:
    return {
        option.opts[0]: option
        for option in command.params
        if option.param_type_name == "option" and option.opts[0] not in OF_TYPER
    }


def commands() -> dict[str, Any]:
    # `run` is the one whose options aren't Typer's: every pod begins with it.
    return option_tables.commands() | {"run": _as_command(parser())}


def _as_command(parser: ArgumentParser) -> Any:
    return SimpleNamespace(
        params=[
            SimpleNamespace(
                param_type_name="option",
                opts=action.option_strings,
                secondary_opts=[],
                envvar=next(iter(re.findall(r"\b(SERVER_JOBS_\w+)", action.help or "")), None),
                default=action.default,
            )
            for action in parser._actions
            if "--help" not in action.option_strings
        ]
    )


@pytest.mark.parametrize("page", option_tables.HEADINGS, ids=lambda page: page.name)
def test_tables_are_those_that_the_declarations_make(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    again = "run python -m tools.option_tables"
    made = option_tables.made()[page]
    assert option_tables.with_tables(text, made, option_tables.HEADINGS[page]) == text, again


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
    declared = {
        setting.variable
        for setting in (*WORKER_SETTINGS.values(), *RUN_SETTINGS.values())
        if setting.has_variable
    }
    documented = {
        name
        for below in tables(PAGE).values()
        for table in below
        for row in table
        for name in codes(row.get("variable", ""))
    }

    assert documented == used | declared


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


def test_extras_are_those_of_the_package() -> None:
    (table,) = tables(PAGE)["Extras"]
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    documented = {name for row in table for name in codes(row["extra"])}
    assert documented == set(package["optional-dependencies"])
