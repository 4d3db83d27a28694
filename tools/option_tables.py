"""The tables of flags in the documentation, made of what the commands declare.

`python -m tools.option_tables` writes them: the first table below the heading of each command.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import typer

from server_jobs.cli.app import app
from server_jobs.cli.commands.run import SETTINGS as RUN_SETTINGS
from server_jobs.cli.settings import Setting
from server_jobs_operator.cli import app as operator_app

DOCS = Path(__file__).resolve().parents[1] / "docs"
HEADINGS = {
    DOCS / "configuration.md": ("flag", "variable", "default", "unit", "meaning"),
    DOCS / "kubernetes.md": ("flag", "variable", "default", "meaning"),
}
OPERATOR = "The operator's flags"

# Typer's own, about the shell and not about jobs.
OF_TYPER = {"--install-completion", "--show-completion", "--help"}

_AS_TYPED = re.compile(
    r"--[a-z-]+\b|\b[a-z]+:///?[\w.:@/-]*\w|/\w+z\b|/metrics\b|\w+:=\w+|\w\.\w+:\w+"
)
"""What a help text can't mark and a page can: flags, URLs, paths, forms."""

Row = dict[str, str]
Tables = dict[str, list[Row]]


def commands() -> dict[str, Any]:
    """Every command by its heading in the page; `run` isn't Typer's, and has its own settings."""
    root = typer.main.get_command(app)
    found: dict[str, Any] = {"For all of them": root}
    for name, command in within(root).items():
        found |= {f"{name} {of}": it for of, it in within(command).items()} or {name: command}
    return found


def within(group: Any) -> dict[str, Any]:
    """The commands of a group, by name; none where it is a command."""
    if not hasattr(group, "list_commands"):
        return {}
    context = typer.Context(group, info_name=group.name)
    return {name: group.get_command(context, name) for name in group.list_commands(context)}


def made() -> dict[Path, Tables]:
    """The rows of each table, by page and heading."""
    operator = within(typer.main.get_command(operator_app))["run"]
    flags = {name: list(_rows(command)) for name, command in commands().items() if name != "run"}
    flags["run"] = [_setting_row(setting) for setting in RUN_SETTINGS.values()]
    configuration, kubernetes = HEADINGS
    return {configuration: flags, kubernetes: {OPERATOR: list(_rows(operator))}}


def _rows(command: Any) -> Iterator[Row]:
    for option in command.params:
        if option.param_type_name == "option" and option.opts[0] not in OF_TYPER:
            variable = option.envvar if isinstance(option.envvar, str) else None
            yield _row(
                flag=", ".join(_code(flag) for flag in option.opts),
                # The first one is ours; others are those of other tools that are understood.
                variable=variable or next(iter(option.envvar or ()), None),
                default=_default(option),
                unit=_unit(option, command),
                meaning=option.help,
            )


def _setting_row(setting: Setting) -> Row:
    default = setting.shown_default or _code("" if setting.required else setting.default_text or "")
    return _row(
        flag=_code(setting.flag),
        variable=setting.variable if setting.has_variable else None,
        default=default,
        unit=", ".join(map(_code, setting.choices)) or _in_words(setting.unit.upper()),
        meaning=setting.help + (" Required." if setting.required else ""),
    )


def _row(*, flag: str, variable: str | None, default: str, unit: str, meaning: str) -> Row:
    return {
        "flag": flag,
        "variable": _code(variable or ""),
        "default": default,
        "unit": unit,
        "meaning": _AS_TYPED.sub(r"`\g<0>`", meaning).replace("|", "\\|").removesuffix("."),
    }


def _default(option: Any) -> str:
    if isinstance(option.default, bool):
        return "on" if option.default else "off"
    if option.default in (None, "", []):
        shown = option.show_default if isinstance(option.show_default, str) else ""
        return _AS_TYPED.sub(r"`\g<0>`", shown) if " " in shown else _code(shown)
    return _code(str(getattr(option.default, "value", option.default)))


def _unit(option: Any, command: Any) -> str:
    if option.metavar or getattr(option, "is_flag", False):
        return _in_words(option.metavar or "")
    parameters = inspect.signature(command.callback, eval_str=True).parameters
    kind, *_ = get_args(parameters[option.name].annotation)
    choices = next((one for one in (kind, *get_args(kind)) if _is_enum(one)), ())
    return ", ".join(_code(choice.value) for choice in choices)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _in_words(metavar: str) -> str:
    """What is written behind a flag: ``SECONDS`` is a unit, ``NAME=VALUE`` a form."""
    if re.fullmatch(r"[A-Z]{3,}", metavar) and metavar not in {"URL", "JSON"}:
        return metavar.lower()
    return metavar if metavar in {"", "URL", "JSON", "ID", "N"} else _code(metavar)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def with_tables(page: str, tables: Mapping[str, list[Row]], headings: tuple[str, ...]) -> str:
    """The page with the first table below each heading made anew."""
    for heading, rows in tables.items():
        table = [_line(headings), "|" + "---|" * len(headings)]
        table += [_line([row[name] for name in headings]) for row in rows]
        found = re.search(
            rf"^#+ {re.escape(heading)}\n(?:(?!#|\|).*\n)*(?P<table>(?:\|.*\n)+)",
            page,
            re.MULTILINE,
        )
        assert found is not None, f"no table below {heading!r}"
        page = page[: found.start("table")] + "\n".join(table) + "\n" + page[found.end("table") :]
    return page


def _line(cells: Sequence[str]) -> str:
    return re.sub(r"  +", " ", f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    for path, tables in made().items():
        text = path.read_text(encoding="utf-8")
        path.write_text(with_tables(text, tables, HEADINGS[path]), encoding="utf-8")
