"""What users' texts and other programs' rows look like on a terminal."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from server_jobs.cli.documents import masked_document
from server_jobs.cli.output import as_json, moment, on_one_line, percent, plain
from server_jobs.records.text import unescaped
from server_jobs.sql.statement import RawText
from tests.unit.cli.test_listing import SOME, lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("carriage\rreturn", "carriage\\x0dreturn"),
        ("two\n\tlines", "two\n\tlines"),
        ("שלום é 日本 👩\u200d🚀", "שלום é 日本 👩\u200d🚀"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_escaped(text: str, shown: str) -> None:
    assert plain(text).plain == shown
    assert text in unescaped(shown)


@pytest.mark.parametrize(
    "value",
    ["\x1b\x9b\x7f\u202e\u2028", "\ud800", float("nan"), float("inf"), {"\x9b": [float("-inf")]}],
)
def test_json_is_valid_and_harmless_whatever_is_in_it(value: object) -> None:
    text = as_json({"value": value})

    assert not set(text) & set("\x1b\x9b\x7f\u202e\u2028\ud800")
    read = json.loads(text, parse_constant=lambda constant: pytest.fail(constant))
    assert read["value"] == value or "inf" in str(value) or "nan" in str(value)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("1" * 5_000, "(an integer of 5,000 digits)"),
        ("[" * 1_200 + "]" * 1_200, "(nested more than 200 levels deep: 2,400 characters)"),
        ("[" * 100_000, "(nested more than 200 levels deep: 100,000 characters)"),
        ('{"n": NaN}', {"n": "NaN"}),
        ("[1e999]", ["inf"]),
        ("{", "(not valid JSON: 1 characters)"),
    ],
)
def test_document_that_python_cannot_hold_is_described(text: str, document: object) -> None:
    assert masked_document(text) == document
    assert json.loads(as_json(masked_document(text))) == document


def test_id_that_another_program_wrote_can_be_typed_as_it_is_shown() -> None:
    latin = RawText.of(b"caf\xe9")

    assert on_one_line(latin) == "caf\\xe9"
    assert str.__str__(latin) in unescaped("caf\\xe9")
    assert on_one_line("a\nb") == "a\\x0ab"
    assert "a\nb" in unescaped("a\\x0ab")
    assert on_one_line("") == "''"


def test_broken_row_is_listed_with_what_is_wrong() -> None:
    problem = "holds 'high', which isn't an integer"

    _, line = lines(None, misfits={"priority": problem}, error=None)

    assert line.endswith(f"broken: column priority {problem}")


def test_huge_cells_push_no_other_line_aside() -> None:
    huge = replace(SOME, job_name="x" * 1_000_000)
    from tests.unit.cli.test_listing import table

    heading, first, second = table([SOME, huge], None)

    assert len(heading) < 1_000
    assert len(first) < 1_000
    assert len(second) > 1_000_000


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01 00:00:00"),
        (datetime.max.replace(tzinfo=UTC), "9999-12-31 23:59:59"),
        ("infinity", "infinity"),
    ],
)
def test_moment_of_any_year_is_shown(value: object, shown: str) -> None:
    assert moment(value) == shown


def test_progress_that_is_no_number_is_shown_as_it_is() -> None:
    assert percent(float("nan")) == "nan %"
    assert percent("half") == "half %"
