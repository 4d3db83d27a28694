"""`make demo`: real worker processes, one of which is killed, on a few files."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server_jobs.demo import run, run_demo

FEW_FILES = 12


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo puts its database: a folder that must be empty again at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def processes_named_in(output: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"\(pid (\d+)\) started", output)]


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_demo_keeps_its_promises_and_leaves_nothing_behind(
    temporary_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run_demo(files=FEW_FILES)

    output = capsys.readouterr().out
    assert status == 0, output
    assert "✗" not in output
    assert "CallFlakyService, attempt 2: ConnectionError" in output
    assert "killed (SIGKILL)" in output
    assert f"{FEW_FILES + 4} jobs in" in output
    pids = processes_named_in(output)
    assert len(pids) == 3
    assert not any(runs(pid) for pid in pids)
    assert list(temporary_folder.iterdir()) == []


def test_the_live_view_shows_a_run_on_postgres(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")

    status = run_demo(files=FEW_FILES, database=postgres_url, interactive=True)

    output = capsys.readouterr().out
    assert status == 0, output
    assert "half-way, and about to be killed" in output
    assert "server-jobs show" in output


def test_a_job_that_is_left_failed_ends_the_demo_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "find_modules", lambda _: ["abc.py", "no/such/module.py"])

    status = run_demo()

    output = capsys.readouterr().out
    assert status == 1, output
    assert "✗ every job is completed" in output
    assert "demo.AnalyseModule" in output
    assert "there is no no/such/module.py in" in output
    assert output.count("✗") == 1


def test_ctrl_c_stops_the_workers_and_removes_the_database(temporary_folder: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from server_jobs.demo import run_demo; raise SystemExit(run_demo())",
        ],
        env=os.environ | {"TMPDIR": str(temporary_folder), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    output = ""
    try:
        while "running, " not in output:
            line = process.stdout.readline()
            assert line, output
            output += line
        assert list(temporary_folder.iterdir()) != []
        process.send_signal(signal.SIGINT)
        output += process.communicate(timeout=30)[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

    assert process.returncode == 130, output
    pids = processes_named_in(output)
    assert len(pids) >= 2
    assert not any(runs(pid) for pid in pids)
    assert list(temporary_folder.iterdir()) == []
