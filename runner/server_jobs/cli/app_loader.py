"""Loads the registry that ``--app module:registry`` names."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from types import ModuleType
from typing import Any

from server_jobs.errors import InvalidAppError
from server_jobs.registry import JobRegistry


def load_registry(app: str | None) -> JobRegistry:
    """Import the module and get its registry.

    Raises InvalidAppError; its cause, if there is one, was raised by the module's own code.
    """
    if not app:
        raise InvalidAppError(
            "no app is given: --app module:registry, or SERVER_JOBS_APP, says where your jobs are,"
            " for instance --app myapp.jobs:registry"
        )
    module_name, colon, attribute = app.partition(":")
    if not colon or not module_name or not attribute:
        raise InvalidAppError(
            f"--app {app!r} isn't module:registry; for instance --app"
            f" {module_name or 'myapp.jobs'}:{attribute or 'registry'}"
        )
    if "/" in module_name or module_name.endswith(".py"):
        dotted = module_name.removesuffix(".py").removeprefix("./").replace("/", ".")
        raise InvalidAppError(
            f"--app takes a module's name, not a file's: try --app {dotted}:{attribute}"
        )
    registry = _attribute(_import(module_name), module_name, attribute)
    if not len(registry):
        raise InvalidAppError(f"{app} has no jobs: add them with registry.register(job)")
    registry.app = registry.app or app  # so that two apps on one database don't share schedules
    return registry


def _import(name: str) -> ModuleType:
    # The path of an installed command begins with its own folder, not with the current one.
    try:
        here = os.getcwd()
    except OSError as error:
        raise InvalidAppError(
            f"--app: the current directory can't be read ({error.strerror}), and {name} is looked"
            " for there: change to one that exists"
        ) from None
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and _leads_to(name, error.name):
            raise InvalidAppError(
                f"--app: {error}; it was looked for in {here} and where Python looks for modules"
            ) from None
        raise InvalidAppError(
            f"--app: importing {name} raised {type(error).__name__}: {error}"
        ) from error


def _leads_to(name: str, missing: str | None) -> bool:
    """Return whether the missing module is the app's, or a package that contains it."""
    return missing is not None and (name == missing or name.startswith(f"{missing}."))


def _attribute(module: ModuleType, module_name: str, path: str) -> JobRegistry:
    found: Any = module
    for name in path.split("."):
        if not hasattr(found, name):
            close = difflib.get_close_matches(name, vars(found), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InvalidAppError(
                f"--app: {module_name} has no {path!r}{hint} ({_registries(module)})"
            )
        found = getattr(found, name)
    if not isinstance(found, JobRegistry):
        raise InvalidAppError(
            f"--app: {module_name}:{path} is a {type(found).__name__}, not a JobRegistry"
            f" ({_registries(module)})"
        )
    return found


def _registries(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, JobRegistry)]
    if not names:
        return "the module has no registry: registry = create_job_registry()"
    return f"registries in it: {', '.join(names)}"
