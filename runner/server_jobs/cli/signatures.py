"""Options that several commands share, put into each command's signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def takes(name: str, make: Callable[..., Any]) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a command the options of ``make`` in place of its parameter ``name``.

    When the command runs, ``make`` is called with these options, and what it returns becomes the
    argument ``name``.
    """
    options = inspect.signature(make, eval_str=True).parameters

    def decorate(command: Callable[..., T]) -> Callable[..., T]:
        signature = inspect.signature(command, eval_str=True)
        parameters = [
            parameter
            for own in signature.parameters.values()
            for parameter in (options.values() if own.name == name else (own,))
        ]

        @functools.wraps(command)
        def with_options(**given: Any) -> T:
            made = make(**{option: given.pop(option) for option in options})
            return command(**given, **{name: made})

        # Typer reads what a command takes from its signature, and calls it by keywords.
        with_options.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[
                parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters
            ]
        )
        return with_options

    return decorate
