"""How long names and keys may be, and what they may hold."""

import pytest

from server_jobs.backend import WorkerBackendConfig
from server_jobs.errors import ConfigurationError
from server_jobs.records.names import KEY, NAME, QUEUE, TextRule


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (QUEUE, "mail"),
        (QUEUE, "mail.high/eu:1_a-b"),
        (QUEUE, "büro"),
        (QUEUE, "x" * 255),
        (NAME, "Send e-mail, now"),
        (NAME, "team/Zoë's report"),
        (NAME, "漢" * 85),
        (KEY, "line\nline"),
        (KEY, "x" * 1_000),
    ],
)
def test_these_are_allowed(rule: TextRule, text: str) -> None:
    assert rule.allows(text)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (QUEUE, "default, mail"),
        (QUEUE, "default,mail"),
        (QUEUE, "default mail"),
        (QUEUE, " mail"),
        (QUEUE, "mail\n"),
        (QUEUE, "a\u00a0b"),
        (QUEUE, "a\u2028b"),
        (QUEUE, "a\x1b[31m"),
        (QUEUE, "x" * 256),
        (NAME, ""),
        (NAME, "a\tb"),
        (NAME, "a\x9bb"),
        (NAME, "a\udc80"),
        (NAME, "漢" * 86),
        (NAME, b"bytes"),
        (NAME, None),
        (KEY, ""),
        (KEY, "a\0b"),
        (KEY, "\ud800"),
        (KEY, "ü" * 501),
    ],
)
def test_these_are_refused(rule: TextRule, value: object) -> None:
    assert not rule.allows(value)


def test_worker_refuses_to_serve_what_no_job_can_be_in() -> None:
    with pytest.raises(ConfigurationError, match=r"'default, mail' isn't text .* blanks, commas"):
        WorkerBackendConfig(queues=["other", "default, mail"])
