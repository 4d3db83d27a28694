"""Values at and beyond the ends of each column's type, as SQL expressions.

A value that a dialect can't even spell has no expression there. Long ones are made by the database
itself, so that the statement that inserts them stays short.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, Text

from server_jobs.sql.column_types import JsonText, UtcDateTime

SQLITE, POSTGRES = "sqlite", "postgresql"


@dataclass(frozen=True)
class Value:
    """A value by its name, and how each dialect spells it."""

    name: str
    sqlite: str | None
    postgres: str | None
    huge: bool = False
    """It takes more than D1 or a quick run is given."""

    def sql(self, dialect: str) -> str | None:
        return self.sqlite if dialect == SQLITE else self.postgres


def _both(name: str, sql: str) -> Value:
    return Value(name, sql, sql)


def _lite(name: str, sql: str) -> Value:
    return Value(name, sql, None)


def _postgres(name: str, sql: str) -> Value:
    return Value(name, None, sql)


def _text(name: str, text: str) -> Value:
    return _both(name, _quoted(text))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _repeated(
    name: str, times: int, unit: str, *, before: str = "", after: str = "", huge: bool = False
) -> Value:
    """A text of many units between two others."""
    head, tail = _quoted(before), _quoted(after)
    one = _quoted(unit)
    return Value(
        name,
        f"({head} || replace(hex(zeroblob({times})), '00', {one}) || {tail})",
        f"({head} || repeat({one}, {times}) || {tail})",
        huge,
    )


def _nested(name: str, levels: int) -> Value:
    opened, closed = (_repeated("", levels, bracket) for bracket in "[]")
    return Value(
        name, f"({opened.sqlite} || {closed.sqlite})", f"({opened.postgres} || {closed.postgres})"
    )


_NOISE = random.Random(13).randbytes(1_350).hex()
"""2,700 characters that don't compress, the most that an index of PostgreSQL takes, and more."""

NULL = _both("null", "NULL")

_WRONG_TYPES = [
    _lite("a word", "'high'"),
    _lite("no characters", "''"),
    _lite("a blob", "x'00ff'"),
    _lite("an empty blob", "x''"),
    _lite("a fraction", "1.5"),
    _lite("1e300", "1e300"),
    _lite("infinity", "9e999"),
    _lite("minus infinity", "-9e999"),
    _lite("not UTF-8", "CAST(x'e9' AS TEXT)"),
]

_ENDS = [
    _both("-1", "-1"),
    _both("0", "0"),
    _both("1", "1"),
    _both("a billion", "1000000000"),
    _both("a billion and 1", "1000000001"),
    _both("2^31-2", "2147483646"),
    _both("2^31-1", "2147483647"),
    _both("-2^31", "-2147483648"),
]

_LONG_ENDS = [
    _both("2^31", "2147483648"),
    _both("2^53", "9007199254740992"),
    _both("2^53+1", "9007199254740993"),
    _both("2^63-2", "9223372036854775806"),
    _both("2^63-1", "9223372036854775807"),
    _both("-2^63", "(-9223372036854775807 - 1)"),
]

INTEGERS = [NULL, *_ENDS, *_WRONG_TYPES, *(Value(v.name, v.sqlite, None) for v in _LONG_ENDS)]
BIGINTS = [NULL, *_ENDS, *_LONG_ENDS, *_WRONG_TYPES]
BOOLEANS = [
    NULL,
    _lite("2", "2"),
    _lite("-1", "-1"),
    _lite("2^63-1", "9223372036854775807"),
    *_WRONG_TYPES,
]
FLOATS = [
    NULL,
    _both("-1", "-1"),
    _both("0", "0"),
    _both("-0", "-0.0"),
    _both("the smallest", "1e-307"),
    _both("0.001", "0.001"),
    _both("a year", "31536000"),
    _both("eleven years", "346896000"),
    _both("1e300", "1e300"),
    _both("2^63", "9223372036854775808"),
    Value("infinity", "9e999", "'infinity'"),
    Value("minus infinity", "-9e999", "'-infinity'"),
    _postgres("not a number", "'NaN'"),
    *(value for value in _WRONG_TYPES if value.name not in {"1e300", "infinity"}),
]
TEXTS = [
    NULL,
    _text("no characters", ""),
    _text("a blank", " "),
    _text("blanks around it", " good "),
    _text("a comma", "a,b"),
    _text("a line break", "a\nb"),
    _text("terminal escapes", "\x1b]0;owned\x07\x1b[2J\x1b[31mred"),
    _text("C1 escapes", "\x9b31mred"),
    _text("right to left", "\u202egnp.exe"),
    _text("emoji", "👩‍👩‍👧‍👦" * 20),
    _text("markup", "[bold]not[/] [/red] [link=file:///]"),
    _text("percent", "%s%n{0}${x}:y"),
    _repeated("255 characters", 255, "x"),
    _repeated("256 characters", 256, "x"),
    _text("2.7 KB", _NOISE),
    _repeated("1 MB", 500_000, "ab", huge=True),
    _lite("NUL", "('a' || char(0) || 'b')"),
    _lite("a surrogate", "CAST(x'eda080' AS TEXT)"),
    _lite("Latin-1", "CAST(x'636166e9' AS TEXT)"),
    _lite("a cut character", "CAST(x'61e282' AS TEXT)"),
    _lite("overlong", "CAST(x'c0af' AS TEXT)"),
    _lite("beyond Unicode", "CAST(x'f4908080' AS TEXT)"),
    _lite("a blob", "x'676f6f64'"),
    _lite("a blob that isn't text", "x'00ff'"),
    _lite("a number", "5"),
    _lite("infinity", "9e999"),
]
IDS = [
    *TEXTS,
    _text("a path", "../../../etc/passwd"),
    _text("upper case", "0197A3C2-0000-7000-8000-00000000000F"),
    _text("highest", "\U0010ffff"),
    _text("an option", "--all"),
    _text("36 characters", "z" * 36),
    _text("37 characters", "z" * 37),
]
MOMENTS = [
    NULL,
    _both("year 1", "'0001-01-01 00:00:00'"),
    _both("year 1969", "'1969-12-31 23:59:59'"),
    _both("epoch", "'1970-01-01 00:00:00'"),
    _both("before the last", "'9999-12-30 23:59:59.999999'"),
    _both("the last", "'9999-12-31 23:59:59.999999'"),
    _both("year 10000", "'10000-01-01 00:00:00'"),
    _both("a day in the past", "'2024-02-29 12:00:00'"),
    _both("a day to come", "'2090-02-28 12:00:00'"),
    _both("seven digits", "'2030-01-01 00:00:00.9999999'"),
    _both("twelve digits", "'2024-01-01 00:00:00.123456789012'"),
    _both("a zone", "'2024-01-01 00:00:00+14:00'"),
    _postgres("infinity", "'infinity'"),
    _postgres("minus infinity", "'-infinity'"),
    _postgres("4713 BC", "'4713-01-01 00:00:00 BC'"),
    _postgres("294276", "'294276-12-31 23:59:59'"),
    _lite("a number", "1893456000"),
    _lite("a fraction", "2460000.5"),
    _lite("a blob", "CAST('2030-01-01 00:00:00' AS BLOB)"),
    _lite("NUL", "('2030-01-01 00:00:00' || char(0) || 'x')"),
    _lite("not UTF-8", "('2030-01-01 00:00:00.1' || CAST(x'e9' AS TEXT))"),
    _lite("a long fraction", "('2024-01-01 00:00:00.' || replace(hex(zeroblob(5000)),'00','1'))"),
    _lite("no characters", "''"),
]
_DIGITS = "1" * 5_000
DOCUMENTS = [
    NULL,
    _text("the document null", "null"),
    _text("a list", "[1, 2]"),
    _text("a text", '"text"'),
    _text("a number", "1"),
    _text("true", "true"),
    _text("an empty object", "{}"),
    _text("other fields", '{"m": {"n": [null]}, "": 0}'),
    _text("a text for a number", '{"n": "many"}'),
    _text("5,000 digits", f'{{"n": {_DIGITS}}}'),
    _text("only 5,000 digits", _DIGITS),
    _text("1e400", '{"n": 1e400}'),
    _text("-1e400", "-1e400"),
    _text("2^63", '{"n": 9223372036854775808}'),
    _text("a secret", '{"$secret": {"$secret": 1}, "$plain": 2}'),
    _text("terminal escapes", '{"n": "\\u001b[2J\\u001b]0;owned\\u0007\\u009b31m"}'),
    _text("a lone surrogate", '{"n": "\\ud800"}'),
    _text("NUL", '{"n": "\\u0000"}'),
    _text("markup", '{"n": "[/red][bold]"}'),
    _nested("200 levels", 200),
    _nested("900 levels", 900),
    _nested("5,000 levels", 5_000),
    _repeated("10,000 fields", 10_000, '"x":1,', before="{", after='"n":1}'),
    _repeated("1 MB", 500_000, "ab", before='"', after='"', huge=True),
    _repeated("100,000 entries", 99_999, "1,", before="[", after="1]", huge=True),
    _lite("a blob", """CAST('{"n": 1}' AS BLOB)"""),
    _lite("not UTF-8", """('{"n": "' || CAST(x'e9' AS TEXT) || '"}')"""),
    _lite("a NUL at the end", """('{"n": 1}' || char(0))"""),
    _lite("JSON5", "'{n: 1}'"),
    _lite("an integer", "5"),
    _lite("no characters", "''"),
]
_ENTRY = '{"attempt": 1, "at": "2024-01-01T00:00:00Z", "type": "E", "message": "m"}'
ERRORS = [
    *DOCUMENTS,
    _text("entries of other kinds", '[null, 1, "text", [], {}, [[{}]], true]'),
    _text(
        "fields of other kinds",
        '[{"attempt": "x", "at": 5, "type": [], "message": {}, "traceback": 1, "worker": null}]',
    ),
    _text("moments that aren't", '[{"at": "infinity"}, {"at": "9999-99-99"}, {"at": ""}]'),
    _text("huge attempts", f'[{{"attempt": {_DIGITS}}}, {{"attempt": 1e400}}]'),
    _text(
        "escapes in a message",
        '[{"type": "\\u001b[31m", "message": "\\u001b]0;owned\\u0007", "traceback": "\\u009b2J"}]',
    ),
    _repeated("21 entries", 20, f"{_ENTRY},", before="[", after=f"{_ENTRY}]"),
    _repeated("101 entries", 100, f"{_ENTRY},", before="[", after=f"{_ENTRY}]"),
    _repeated("100,000 errors", 99_999, f"{_ENTRY},", before="[", after=f"{_ENTRY}]", huge=True),
    _repeated("a message of 1 MB", 500_000, "ab", before='[{"message":"', after='"}]', huge=True),
]
POLICIES = [
    *DOCUMENTS,
    _text("a negative delay", '{"base_seconds": -1}'),
    _text("a word for a delay", '{"base_seconds": "soon"}'),
    _text("delays of 1e308", '{"base_seconds": 1e308, "factor": 1e308, "max_seconds": 1e308}'),
    _text("a delay of 5,000 digits", f'{{"base_seconds": {_DIGITS}}}'),
    _text("a jitter that isn't", '{"jitter": [1]}'),
    _text("null for all", '{"base_seconds": null, "factor": null, "max_seconds": null}'),
]
RUNTIMES = [
    *DOCUMENTS,
    _text("wrong kinds", '{"cpu": [], "memory": {}, "gpu": "many", "labels": 5}'),
    _text("huge amounts", f'{{"cpu": "{"9" * 40}E", "memory": "{"9" * 40}Ei"}}'),
    _text("amounts that aren't", '{"cpu": "-1", "memory": "lots", "oom_memory_factor": 1e400}'),
    _text("huge factor", f'{{"memory": "1Gi", "oom_memory_factor": {_DIGITS}}}'),
]
EXPRESSIONS = [
    *TEXTS,
    _text("never", "0 0 30 2 *"),
    _text("seldom", "0 0 29 2 1"),
    _text("six fields", "* * * * * *"),
    _text("huge numbers", f"{'9' * 200} * * * *"),
    _text("huge step", "*/99999999999999999999 * * * *"),
    _text("every minute", "* * * * *"),
]
ZONES = [
    *TEXTS,
    _text("nowhere", "Nowhere/City"),
    _text("a path", "../../../etc/passwd"),
    _text("an absolute path", "/etc/passwd"),
    _text("a folder", "Europe"),
    _text("a file of another kind", "tzdata.zi"),
]
WORDS = [*TEXTS, _text("another word", "sometimes"), _text("upper case", "QUEUE")]


def values_of(column: Column[object]) -> list[Value]:
    """What a column is tried with."""
    special = {
        "errors": ERRORS,
        "retry_policy": POLICIES,
        "runtime": RUNTIMES,
        "cron_expression": EXPRESSIONS,
        "time_zone": ZONES,
        "status": WORDS,
        "overlap": WORDS,
        "catchup": WORDS,
        "last_decision": WORDS,
        "id": IDS,
        "cron_job_id": IDS,
        "last_job_id": IDS,
        "fire_token": IDS,
    }.get(column.name)
    if special is not None:
        return special
    # The types' own order: a bigint is an integer, too.
    for kind, values in (
        (JsonText, DOCUMENTS),
        (UtcDateTime, MOMENTS),
        (BigInteger, BIGINTS),
        (Boolean, BOOLEANS),
        (Integer, INTEGERS),
        (Float, FLOATS),
        (Text, TEXTS),
    ):
        if isinstance(column.type, kind):
            return values
    raise NotImplementedError(f"{column.name} has a type for which there are no values")
