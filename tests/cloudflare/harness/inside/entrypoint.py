"""Runs inside Pyodide, and does there what the platform's own entry point does.

It imports the Worker's main module under the rules of the global scope, finds the class that it
exports, and calls that class's handlers.
"""

import importlib
import inspect
import os
import random
import secrets  # noqa: F401 - imported by everybody sooner or later; its own entropy is no Worker's
import signal
import time
import uuid  # noqa: F401
from collections.abc import Callable, Iterator
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
    """Refuse entropy and clocks, whoever takes hold of them now, until it is left."""
    entered = [True]
    for module, name in ENTROPY + CLOCKS:
        original = getattr(module, name)
        # It stays: modules that are imported now may keep it under a name of their own.
        setattr(module, name, _guarded(f"{module.__name__}.{name}", original, entered))
    try:
        yield
    finally:
        entered.clear()


def _guarded(name: str, original: Callable[..., Any], entered: list[bool]) -> Any:
    def guarded(*args: Any, **options: Any) -> Any:
        if entered:
            raise RuntimeError(f"Disallowed operation called within global scope: {name}")
        return original(*args, **options)

    return guarded


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
