"""Where CI=true, a skipped test has failed: a suite that skips proves nothing, yet looks green.

`@pytest.mark.may_skip_in_ci(reason="…")` exempts a test. A module that skips itself while it is
collected cannot be exempted; mark its tests instead.
"""

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.get_closest_marker("may_skip_in_ci") is None:
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    expected_to_fail = hasattr(report, "wasxfail")
    if os.environ.get("CI") != "true" or not report.skipped or expected_to_fail:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    report.outcome = "failed"
    report.longrepr = (
        f"{reason}\nWith CI=true a skip is a failure. Make the test run, or mark it "
        "`@pytest.mark.may_skip_in_ci(reason=…)`."
    )
