"""What is public in the code, and what of it is undocumented."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from functools import cached_property

MODULES = (
    "server_jobs",
    "server_jobs.worker",
    "server_jobs.memory",
    "server_jobs.schedules",
    "server_jobs.backend",
    "server_jobs.migrate",
    "server_jobs.schema",
    "server_jobs.errors",
    "server_jobs_cloudflare",
)
"""The modules that a program may import from, in the order of the reference."""


def public_names(name: str) -> list[str]:
    """The public names of a module: its ``__all__``, else what it defines without underscore."""
    module = importlib.import_module(name)
    declared = getattr(module, "__all__", None)
    if declared is not None:
        return sorted(declared)
    return sorted(found for found, value in vars(module).items() if _is_public(found, value, name))


def undocumented(modules: tuple[str, ...] = MODULES) -> Iterator[str]:
    """Public names without a docstring, members of public classes included."""
    for name in modules:
        module = importlib.import_module(name)
        if not inspect.getdoc(module):
            yield name
        for public in public_names(name):
            yield from _undocumented(f"{name}.{public}", getattr(module, public))


def _undocumented(path: str, value: object) -> Iterator[str]:
    if inspect.isclass(value):
        # `getdoc` would give a base class's.
        if not value.__dict__.get("__doc__"):
            yield path
        for name, member in vars(value).items():
            public = not name.startswith("_") and _has_code(member)
            if public and not inspect.getdoc(getattr(value, name, member)):
                yield f"{path}.{name}"
    elif callable(value) and not inspect.getdoc(value):
        yield path


def _is_public(name: str, value: object, module: str) -> bool:
    defined = inspect.isclass(value) or inspect.isroutine(value) or hasattr(value, "__wrapped__")
    return not name.startswith("_") and defined and getattr(value, "__module__", "") == module


def _has_code(member: object) -> bool:
    kinds = (property, cached_property, classmethod, staticmethod)
    return inspect.isfunction(member) or isinstance(member, kinds)
