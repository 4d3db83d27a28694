"""Settings of a command, each declared once.

A setting's flag, its environment variable, its line in ``--help`` and its line in the documentation
come from its declaration. Its default comes from the dataclass that the command fills. ``run``
makes argparse's options of the declarations, and ``flags`` makes Typer's; this module imports
neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any

from server_jobs.cli.environment import bare
from server_jobs.records.names import TextRule

SECONDS = "seconds"
"""The unit of settings that are spans of time."""

NO_VARIABLE = "-"
"""Stands for the name of a variable where there is none: the setting has a flag only."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a command. ``settings_of`` completes flag, variable and default."""

    help: str
    unit: str = ""
    """What the value is: seconds, jobs, a name. ``--help`` shows it in capitals.

    Seconds may also be typed as ``90s`` or ``5m``.
    """
    flag: str = ""
    variable: str = ""
    default: Any = None
    shown_default: str = ""
    """Describes a default that is only known when the command starts."""
    choices: tuple[str, ...] = ()
    required: bool = False
    is_duration: bool = False
    """The value is typed as ``90s``, ``7d`` or ``forever``, and read as seconds or None."""
    list_of: TextRule | None = None
    """The option may be repeated, its value may have commas, and each name fits this rule."""

    @property
    def has_variable(self) -> bool:
        """Whether it can be set in the environment."""
        return self.variable != NO_VARIABLE

    @property
    def names(self) -> str:
        """What it is called where it may have been set."""
        return f"{self.flag} / {self.variable}" if self.has_variable else self.flag

    @property
    def default_text(self) -> str | None:
        """The default as it would be typed. None if there is none, and for durations."""
        if self.default is None or self.is_duration:
            return None
        if isinstance(self.default, float):
            return f"{self.default:g}"
        return ",".join(self.default) if self.list_of else str(self.default)


def settings_of(config: type, prefix: str, **declared: Setting) -> dict[str, Setting]:
    """Return the settings by name, with the defaults of the dataclass that they fill.

    Flags and variables are made of the names: ``poll_interval`` is ``--poll-interval`` and, behind
    the prefix, ``POLL_INTERVAL``.
    """
    of_config = {field.name: field for field in fields(config)}
    return {name: _complete(name, setting, prefix, of_config) for name, setting in declared.items()}


def _complete(
    name: str, setting: Setting, prefix: str, of_config: Mapping[str, Field[Any]]
) -> Setting:
    default = setting.default
    if default is None and name in of_config and of_config[name].default is not MISSING:
        default = of_config[name].default
    flag = setting.flag or f"--{name.replace('_', '-')}"
    if default is True:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    return replace(
        setting,
        default=default,
        flag=flag,
        variable=setting.variable or f"{prefix}{name.upper()}",
    )


def names_in(values: Sequence[str]) -> tuple[str, ...]:
    """Return the names in ``a, b`` and ``c``, each once, in order.

    Blanks around a name, quotes around it and empty places between commas don't count.
    """
    names = (bare(name) for value in values for name in value.split(","))
    return tuple(dict.fromkeys(name for name in names if name))
