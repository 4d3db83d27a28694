"""Typer's options, made of settings."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from server_jobs.cli.durations import FOREVER, as_typed, seconds_of, seconds_or_forever
from server_jobs.cli.settings import SECONDS, Setting, names_in
from server_jobs.cli.signatures import takes
from server_jobs.records.names import TextRule

T = TypeVar("T")


def takes_settings(
    settings: Mapping[str, Setting],
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a command an option for each setting in place of its parameter ``settings``.

    The argument is a dict of the values by name: durations in seconds, lists cut at their commas.
    """

    def read(**given: Any) -> dict[str, Any]:
        return {name: _value(setting, given[name]) for name, setting in settings.items()}

    parameters = [_parameter(name, setting) for name, setting in settings.items()]
    read.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return takes("settings", read)


def _parameter(name: str, setting: Setting) -> inspect.Parameter:
    default = setting.default
    kind: Any = str | None if default is None else type(default)
    if setting.is_duration:
        kind, default = str, FOREVER if default is None else as_typed(default)
    elif setting.list_of is not None:
        kind, default = list[str] | None, None
    elif setting.unit == SECONDS:
        kind, default = str, setting.default_text
    elif isinstance(default, float) and default.is_integer():
        default = int(default)  # so that the help says 300, and not 300.0
    option = typer.Option(
        setting.flag,
        envvar=setting.variable if setting.has_variable else None,
        metavar=setting.unit.upper() or None,
        show_default=setting.shown_default
        or (setting.list_of is not None and setting.default_text)
        or True,
        help=setting.help,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _value(setting: Setting, given: Any) -> Any:
    if setting.is_duration:
        return seconds_or_forever(given, setting.names)
    if setting.unit == SECONDS:
        return seconds_of(given, setting.names)
    if setting.list_of is not None:
        return _names(setting, setting.list_of, given) if given else setting.default
    return given


def _names(setting: Setting, rule: TextRule, values: list[str]) -> tuple[str, ...]:
    whole = os.environ.get(setting.variable, "")
    # Typer cuts a variable at its blanks. A list is cut at its commas.
    names = names_in([whole] if values == whole.split() else values)
    hint = f"'{setting.names}'"
    if not names:
        raise typer.BadParameter("there is no name in it.", param_hint=hint)
    for name in names:
        if not rule.allows(name):
            raise typer.BadParameter(f"{name!r} isn't {rule.words}.", param_hint=hint)
    return names
