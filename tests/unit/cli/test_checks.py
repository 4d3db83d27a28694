"""What ``doctor`` makes of clocks and disks."""

from pathlib import Path

import pytest

from server_jobs import connect
from server_jobs.cli.doctor import checks, server_checks
from server_jobs.cli.doctor.checks import Level, Patient, clock_finding
from server_jobs.monitoring.monitor import LiveJobs, LiveKind


@pytest.mark.parametrize("ahead", [0.0, 0.9, -0.9])
def test_clocks_that_nearly_agree_are_fine(ahead: float) -> None:
    assert clock_finding(ahead, 0.001).level is Level.OK


@pytest.mark.parametrize(("ahead", "words"), [(90, "1 min 30 s ahead of"), (-3_600, "1 h behind")])
def test_clocks_that_differ_are_a_warning_which_says_what_it_means(
    ahead: float, words: str
) -> None:
    finding = clock_finding(ahead, 0.001)

    assert finding.level is Level.WARN
    assert words in finding.text
    assert "scheduled_for=" in finding.text
    assert "delay=" in finding.advice


def test_difference_that_a_slow_answer_explains_is_none() -> None:
    assert clock_finding(2.0, round_trip=4.0).level is Level.OK
    assert clock_finding(4.0, round_trip=4.0).level is Level.WARN


def test_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "jobs.db"
    file.write_bytes(b"x" * 1024 * 1024)

    assert server_checks.space_finding(file).level is Level.OK
    monkeypatch.setattr(server_checks, "LITTLE_SPACE", 1 << 60)
    finding = server_checks.space_finding(file)

    assert finding.level is Level.WARN
    assert "takes 1.0 MiB" in finding.text


async def test_advice_can_be_pasted_whatever_a_row_is_called() -> None:
    database = connect("sqlite://")
    waiting = LiveJobs("mail; reboot", "Charge $HOME", LiveKind.DUE, count=1, seconds=3_600)
    served = Patient(database, known=None, live=[waiting])
    named = Patient(database, known=frozenset(), live=[waiting])

    (due,) = [finding async for finding in checks.due(served)]
    (name,) = [finding async for finding in checks.app_names(named)]

    assert "`server-jobs worker --queue 'mail; reboot'`" in due.advice
    assert "`server-jobs cancel --name 'Charge $HOME'`" in name.advice
    await database.close()
