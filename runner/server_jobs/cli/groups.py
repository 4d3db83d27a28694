"""Groups of commands: their help, when they import a command, and how they report errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from server_jobs.cli.failures import NAMED_DATABASE, exit_code, report
from server_jobs.errors import ServerJobsError
from server_jobs.masks import mask_passwords

# The error that the parser raises. Its own name isn't public, but its subclass's is.
_UsageError: Any = typer.BadParameter.__base__


@dataclass(frozen=True)
class Listed:
    """A command as its group's help lists it, and where it is loaded from."""

    source: str
    """``module:attribute`` within the group's package: a function, or a Typer."""
    help: str
    """The first paragraph of the command's own help."""
    panel: str | None = None


class PlainGroup(TyperGroup):
    """A group whose help shows no type beside an option that is only on or off."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of that name, or None."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _hide_types_of_flags(command.get_params(ctx))
        return command

    def get_params(self, ctx: Any) -> Any:
        """Return the options that the group itself takes."""
        params = super().get_params(ctx)
        _hide_types_of_flags(params)
        return params


class LazyGroup(PlainGroup):
    """A group that imports a command's module when the command is invoked, and not before.

    Its own help and the completion of its commands' names go by the table ``listed``.
    """

    package: ClassVar[str]
    listed: ClassVar[Mapping[str, Listed]]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._loaded: set[str] = set()
        self._is_listing = False
        for name, entry in self.listed.items():
            self.add_command(TyperCommand(name, help=entry.help, rich_help_panel=entry.panel))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of that name, or None. While commands are listed, a stand-in."""
        entry = self.listed.get(cmd_name)
        if entry is not None and not self._is_listing and cmd_name not in self._loaded:
            self.add_command(_load(f"{self.package}.{entry.source}"), cmd_name)
            self._loaded.add(cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, and import no command for it."""
        with self._listing():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Return the completions of a word."""
        with self._listing():
            return super().shell_complete(ctx, incomplete)

    @contextmanager
    def _listing(self) -> Iterator[None]:
        self._is_listing = True
        try:
            yield
        finally:
            self._is_listing = False


class ReportingGroup(PlainGroup):
    """A group that reports our own errors in a line on stderr, and ends with their exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises Exit for an error of ours, and any other error as it is."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            # The message quotes what wasn't understood, for instance a URL in the wrong place.
            error.message = mask_passwords(error.message)
            raise
        except ServerJobsError as error:
            named = ctx.meta.get(NAMED_DATABASE)
            report(error, debug=bool(ctx.params.get("debug")), database=named)
            raise typer.Exit(exit_code(error)) from None


def _load(source: str) -> Any:
    module, _, attribute = source.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
        alone.command()(found)
        found = alone
    return typer.main.get_command(found)


def _hide_types_of_flags(params: Any) -> None:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
