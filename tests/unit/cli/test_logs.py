import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from server_jobs import create_job_context
from server_jobs.cli.logs import console_formatter, json_formatter


class Log:
    """What a formatter makes of the records of all loggers."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(formatter)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def fields(self) -> dict[str, Any]:
        """Of the one line that there is."""
        (line,) = self.text.splitlines()
        fields: dict[str, Any] = json.loads(line)
        return fields


@pytest.fixture
def json_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    with _listening(Log(json_formatter()), monkeypatch) as log:
        yield log


@pytest.fixture
def console_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    with _listening(Log(console_formatter(colors=False)), monkeypatch) as log:
        yield log


@contextmanager
def _listening(log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    # A formatter that fails must fail the test; logging itself would go on.
    monkeypatch.setattr(log.handler, "handleError", _fail)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [log.handler])
    level = root.level
    root.setLevel(logging.INFO)
    yield log
    root.setLevel(level)


def _fail(record: logging.LogRecord) -> None:
    raise AssertionError(f"couldn't be logged: {record!r}")


def test_handlers_line_carries_its_job(json_log: Log) -> None:
    context = create_job_context(
        job_name="SendEmail", job_id="0197", attempt=2, correlation_id="c-1"
    )

    context.log.warn("100% sure", {"to": "ada@example.com"})

    fields = json_log.fields
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {
        "event": "100% sure",
        "level": "warning",
        "logger": "server_jobs.handler",
        "job_name": "SendEmail",
        "job_id": "0197",
        "attempt": 2,
        "correlation_id": "c-1",
        "data": {"to": "ada@example.com"},
    }


RESERVED = ["name", "message", "asctime", "args", "exc_info", "event", "level", "_record"]


@pytest.mark.parametrize("name", RESERVED)
def test_data_may_have_the_names_of_loggings_own_fields(json_log: Log, name: str) -> None:
    create_job_context().log.info("hello", {name: "theirs"})

    assert json_log.fields["data"] == {name: "theirs"}
    assert json_log.fields["event"] == "hello"


@pytest.mark.parametrize("name", ["event", "level", "logger", "timestamp"])
def test_extra_field_of_a_users_logger_stands_beside_ours(json_log: Log, name: str) -> None:
    logging.getLogger("users.app").warning("hello", extra={name: "theirs", "more": 1})

    fields = json_log.fields
    assert fields[f"{name}_"] == "theirs"
    assert fields["more"] == 1
    assert (fields["event"], fields["level"], fields["logger"]) == ("hello", "warning", "users.app")


def _cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


@pytest.mark.parametrize(
    "data",
    [
        object(),
        {("a", 1): "key"},
        {"nan": float("nan"), "infinite": float("inf")},
        _cycle(),
        b"\xff",
        {"surrogate": "\ud800"},
        [{1, 2}, range(3), ValueError("x")],
        type,
    ],
    ids=lambda data: type(data).__name__,
)
@pytest.mark.parametrize("log", ["json_log", "console_log"])
def test_whatever_is_logged_makes_a_line(
    data: object, log: str, request: pytest.FixtureRequest
) -> None:
    written: Log = request.getfixturevalue(log)

    create_job_context().log.info("hello", data)

    assert "hello" in written.text
    if log == "json_log":
        assert "data" in json.loads(written.text, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} isn't JSON")


def test_secret_types_stay_masked(json_log: Log) -> None:
    create_job_context().log.info("hello", {"token": SecretStr("hunter2")})

    assert json_log.fields["data"] == {"token": "**********"}


@pytest.mark.parametrize("log", ["json_log", "console_log"])
def test_exception_is_logged_without_local_variables_and_passwords(
    log: str, request: pytest.FixtureRequest
) -> None:
    written: Log = request.getfixturevalue(log)
    local_secret = "hunter" + "2"
    try:
        raise ValueError(f"can't reach postgresql://user:{local_secret}@host/name")
    except ValueError:
        logging.getLogger("users.app").exception("failed")

    assert "Traceback (most recent call last)" in written.text
    assert "postgresql://user:***@host/name" in written.text
    assert local_secret not in written.text


def test_console_line_has_the_message_and_the_fields(console_log: Log) -> None:
    create_job_context(job_name="SendEmail").log.info("sent", {"to": "ada"})

    assert "sent" in console_log.text
    assert "job_name=SendEmail" in console_log.text
    assert "data={'to': 'ada'}" in console_log.text


def test_texts_that_nobody_reads_to_their_end_are_cut(json_log: Log) -> None:
    logging.getLogger("a").info("x" * 1_000_000, extra={"field": "y" * 30_000, "short": "z"})

    assert json_log.fields["event"] == "x" * 20_000 + "… and 980,000 more characters"
    assert json_log.fields["field"].endswith("y… and 10,000 more characters")
    assert json_log.fields["short"] == "z"


def test_long_traceback_is_cut(console_log: Log) -> None:
    try:
        raise ValueError("x" * 1_000_000)
    except ValueError:
        logging.getLogger("a").exception("it broke")

    assert len(console_log.text) < 50_000
    assert "more characters" in console_log.text
