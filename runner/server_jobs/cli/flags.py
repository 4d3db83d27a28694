"""Typer's options, made of settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer

from server_jobs.cli.durations import FOREVER, as_typed, seconds_or_forever
from server_jobs.cli.settings import Setting
from server_jobs.cli.signatures import takes

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
    elif setting.is_list:
        kind, default = list[str] | None, None
    elif isinstance(default, float) and default.is_integer():
        default = int(default)  # so that the help says 300, and not 300.0
    option = typer.Option(
        setting.flag,
        envvar=setting.variable if setting.has_variable else None,
        metavar=setting.unit.upper() or None,
        show_default=setting.shown_default or (setting.is_list and setting.default_text) or True,
        help=setting.help,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _value(setting: Setting, given: Any) -> Any:
    if setting.is_duration:
        return seconds_or_forever(given, setting.flag)
    if setting.is_list:
        return names_in(given, setting.flag) if given else setting.default
    return given


def names_in(values: Sequence[str], option: str) -> tuple[str, ...]:
    """Return the names in ``a,b`` and ``c``, each once, in order. Raises BadParameter."""
    names = [name.strip() for value in values for name in value.split(",")]
    if not all(names):
        raise typer.BadParameter("a name is empty.", param_hint=f"'{option}'")
    return tuple(dict.fromkeys(names))
