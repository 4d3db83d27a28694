import pytest

from server_jobs.cli.durations import in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.0123, "0.012 s"),
        (0.9999, "1 s"),
        (4.25, "4.2 s"),
        (59.99, "59.9 s"),
        (60, "1 min"),
        (61.9, "1 min 1 s"),
        (7_500, "2 h 5 min"),
        (7_230, "2 h"),
        (90_000, "1 d 1 h"),
        (86_400 * 30 + 59, "30 d"),
    ],
)
def test_span_is_read_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
