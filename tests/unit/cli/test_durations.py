"""Durations on the command line."""

import pytest
import typer

from server_jobs.cli.durations import as_typed, seconds_of, seconds_or_forever


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("0.5", 0.5),
        ("90s", 90),
        ("15m", 900),
        ("2h", 7_200),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1h30m", 5_400),
        ("1.5h", 5_400),
        (" 7D ", 604_800),
        ("7 d", 604_800),
        ("1h 30m", 5_400),
        ("2 hours", 7_200),
        ("1w2d", 777_600),
    ],
)
def test_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert seconds_of(text, "--keep") == seconds
    assert seconds_or_forever(text, "--keep") == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "d", "-1", "-1d", "+1d", "1d-2h", "7y", "1d2", "1e3", "nan", "inf", "none"),
        *("1:30", "1:30:00", "1h, and 30m", "1h???30m", "30m1h", "1h1h", "1.2.3d", ".", "²d"),
    ],
)
def test_what_is_no_duration_is_refused_and_the_option_named(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="7d") as strict:
        seconds_of(text, "--keep")
    with pytest.raises(typer.BadParameter, match="or forever") as lax:
        seconds_or_forever(text, "--keep")
    assert strict.value.param_hint == lax.value.param_hint == "'--keep'"


@pytest.mark.parametrize("seconds", [0, 0.5, 59, 60, 5_400, 86_400, 694_861.25])
def test_duration_that_is_written_is_read_as_the_same(seconds: float) -> None:
    assert seconds_of(as_typed(seconds), "--keep") == seconds


def test_forever_has_no_seconds() -> None:
    assert seconds_or_forever("Forever", "--keep") is None
    with pytest.raises(typer.BadParameter):
        seconds_of("forever", "--older-than")
