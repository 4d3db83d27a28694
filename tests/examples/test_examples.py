"""Every example runs to its end by itself, on a temporary SQLite file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tools.site.public_names import MODULES

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))

LAST_LINES = {
    "progress_and_cancel.py": "cancelled",
    "quickstart.py": "6",
    "schedules.py": "the report of the north",
    "sync_app.py": "made emma.png",
    "transactional_enqueue.py": "receipts sent: ['order 1 to Ada']",
}


def test_every_example_says_what_it_should_print() -> None:
    assert [example.name for example in EXAMPLES] == sorted(LAST_LINES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_runs_to_its_end_and_leaves_nothing_behind(example: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1].endswith(LAST_LINES[example.name])
    assert list(tmp_path.iterdir()) == []


ALL_EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").rglob("*.py"))


@pytest.mark.parametrize("example", ALL_EXAMPLES, ids=lambda path: path.name)
def test_example_imports_only_what_is_public(example: Path) -> None:
    imported = [
        node.module
        for node in ast.walk(ast.parse(example.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("server_jobs")
    ]

    assert [module for module in imported if module not in MODULES] == []
