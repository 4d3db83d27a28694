"""Runs the conformance suite inside Pyodide on the harness's D1."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cloudflare.harness.inside import async_tests, d1_kind

SETTINGS = """
[pytest]
addopts = --import-mode=importlib --strict-markers -p no:cacheprovider -p no:tmpdir
markers =
    may_skip_in_ci(reason): unused here
    timeout(seconds): unused here
filterwarnings =
    error
    ignore:.*importlib.*:DeprecationWarning
"""


def run(binding: Any, folder: str, *options: str) -> str:
    """Run the tests of a folder, or of a file → what became of each, as JSON."""
    d1_kind.bindings["DB"] = binding
    with open("/pytest.ini", "w") as file:
        file.write(SETTINGS)
    reports = async_tests.Reports()
    top = folder if Path(folder).is_dir() else Path(folder).parent
    arguments = [
        "-c",
        "/pytest.ini",
        "--rootdir",
        "/",
        f"--confcutdir={top}",
        "-q",
        "--tb=short",
    ]
    status = pytest.main([*arguments, *options, folder], plugins=[async_tests, reports])
    return json.dumps({"status": int(status), "outcomes": reports.outcomes, "texts": reports.texts})
