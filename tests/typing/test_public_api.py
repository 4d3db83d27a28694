"""A user's editor and type checker know what a job takes and gives."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = Path(__file__).with_name("public_api.py")


def mypy(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mypy", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_types_are_inferred_and_mistakes_refused() -> None:
    checked = mypy(SNIPPETS)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_check_would_notice(tmp_path: Path) -> None:
    """An inference that is lost (``Any``) and a mistake that is let through are both errors."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from typing import Any, assert_type\n"
        "from server_jobs import define_job\n"
        "@define_job()\n"
        "async def double(params: int) -> int:\n"
        "    return 2 * params\n"
        "async def use() -> None:\n"
        "    assert_type((await double.now(1)).data, Any)\n"
        "    await double.now(1)  # type: ignore[arg-type]\n"
    )
    checked = mypy(wrong)

    assert "wrong.py:7: error: Expression is of type" in checked.stdout
    assert 'wrong.py:8: error: Unused "type: ignore" comment' in checked.stdout
