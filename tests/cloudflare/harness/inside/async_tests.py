"""A plugin of pytest: asynchronous tests and fixtures on the one event loop that Pyodide has.

pytest-asyncio makes a new loop for each test, and here there is no second one. Where a
synchronous caller needs an answer, WebAssembly's stack is suspended until it is there.
"""

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any

import pytest
from pyodide.ffi import run_sync

NO_THREADS = "there are no threads in WebAssembly"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    run_sync(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    original = fixturedef.func
    if inspect.isasyncgenfunction(original):
        fixturedef.func = _generator(original)  # type: ignore[misc]
    elif inspect.iscoroutinefunction(original):
        fixturedef.func = _function(original)  # type: ignore[misc]
    try:
        return (yield)
    finally:
        fixturedef.func = original  # type: ignore[misc]


def _generator(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def fixture(*args: Any, **options: Any) -> Any:
        steps = original(*args, **options)
        yield run_sync(anext(steps))
        run_sync(anext(steps, None))

    return fixture


def _function(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def fixture(*args: Any, **options: Any) -> Any:
        return run_sync(original(*args, **options))

    return fixture


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and "can't start new thread" in str(call.excinfo.value):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 0, NO_THREADS)
    return report


class Reports:
    """What became of each test, by its name."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.texts: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.split("conformance/")[-1]
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[name] = report.outcome
            if isinstance(report.longrepr, tuple):
                self.texts[name] = str(report.longrepr[2])
            elif report.failed:
                self.texts[name] = report.longreprtext

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcomes[report.nodeid] = "failed"
            self.texts[report.nodeid] = report.longreprtext
