"""Runs inside Pyodide, and does there what the platform's own entry point does.

It imports the Worker's main module under the rules of the global scope, finds the class that it
exports, and calls that class's handlers.
"""

import builtins
import importlib
import inspect
import os
import random
import secrets  # noqa: F401 - imported by everybody sooner or later; its own entropy is no Worker's
import signal
import time
import uuid  # noqa: F401
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

ENTROPY = [(os, "urandom"), (random, "_urandom")] + [
    (random, name)
    for name in ("random", "randint", "randrange", "choice", "shuffle", "sample", "uniform")
]
CLOCKS = [(time, name) for name in ("time", "time_ns", "monotonic", "perf_counter", "sleep")]


class CpuLimitExceeded(BaseException):
    """What the platform raises, at any instruction, as the limit on CPU time comes near."""


def _raise_cpu_limit(number: int, frame: object) -> None:
    raise CpuLimitExceeded


signal.signal(signal.SIGXCPU, _raise_cpu_limit)


def load(module: str) -> type:
    """Import the Worker under the rules of the global scope → the class that it exports."""
    with _global_scope():
        return _exported(importlib.import_module(module))


def _exported(module: ModuleType) -> type:
    from workers import WorkerEntrypoint

    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, WorkerEntrypoint)
        and value.__name__ == "Default"
    ]
    if len(found) != 1:
        raise LookupError(f"{module.__name__} exports {len(found)} classes named Default")
    return found[0]


@contextmanager
def _global_scope() -> Iterator[None]:
    """Refuse entropy and clocks to all but the import system, which looks at files' times."""
    saved = [(module, name, getattr(module, name)) for module, name in ENTROPY + CLOCKS]
    try:
        for module, name, _ in saved:
            setattr(module, name, _refusal(f"{module.__name__}.{name}"))
        yield
    finally:
        for module, name, original in saved:
            setattr(module, name, original)


def _refusal(name: str) -> Any:
    def refuse(*args: Any, **options: Any) -> Any:
        raise builtins.RuntimeError(f"Disallowed operation called within global scope: {name}")

    return refuse


def wrapped(env: Any) -> Any:
    """The environment as the vendor's SDK hands it to a Worker, where there is the SDK."""
    try:
        from workers import _EnvWrapper
    except ImportError:
        return env
    return _EnvWrapper(env)


async def call(worker: type, context: Any, env: Any, method: str, parameters: Any) -> Any:
    """Call a handler as the platform does: a new instance, and all parameters positional."""
    from workers import python_from_rpc, python_to_rpc

    instance = worker(context, env)
    result = getattr(instance, method)(*[python_from_rpc(each) for each in parameters])
    if inspect.isawaitable(result):
        result = await result
    return python_to_rpc(result)
